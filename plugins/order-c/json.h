// Reads what a plugin mostly needs of JSON (RFC 8259): a text member of an object.
#ifndef JSON_H
#define JSON_H
#ifdef __cplusplus
extern "C" {
#endif

#include <stddef.h>
#include <stdint.h>

// Finds the member `name` of the object that `document` holds. Where it is text, puts it into `text` and `len`, as
// UTF-8 in memory that the caller frees, and returns NULL. Otherwise returns what is wrong, one line for people. The
// whole document is checked, also what stands behind the member; of two members with that name the last one counts.
const char *json_text_member(const uint8_t *document, size_t document_len, const char *name, uint8_t **text,
                             size_t *len);

// The length of the UTF-8 character (RFC 3629) that `bytes` begin with; 0 where they begin with none.
size_t json_utf8_len(const uint8_t *bytes, size_t len);

#ifdef __cplusplus
}
#endif
#endif
