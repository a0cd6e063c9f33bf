#include "json.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

// How deep values may stand in each other: bounds the stack.
#define DEPTH_MAX 64

typedef struct {
  const uint8_t *at;
  const uint8_t *end;
} reader;

typedef struct {
  uint8_t *ptr;
  size_t len;
} span;

static void skip_space(reader *in) {
  while (in->at < in->end && (*in->at == ' ' || *in->at == '\t' || *in->at == '\n' || *in->at == '\r')) in->at++;
}

static bool take(reader *in, char expected) {
  if (in->at == in->end || *in->at != (uint8_t)expected) return false;
  in->at++;
  return true;
}

static bool take_word(reader *in, const char *word) {
  size_t len = strlen(word);
  if ((size_t)(in->end - in->at) < len || memcmp(in->at, word, len) != 0) return false;
  in->at += len;
  return true;
}

static bool digits(reader *in) {
  const uint8_t *start = in->at;
  while (in->at < in->end && *in->at >= '0' && *in->at <= '9') in->at++;
  return in->at > start;
}

static bool skip_number(reader *in) {
  take(in, '-');
  if (!take(in, '0') && !digits(in)) return false;
  if (take(in, '.') && !digits(in)) return false;
  if (take(in, 'e') || take(in, 'E')) {
    if (!take(in, '+')) take(in, '-');
    return digits(in);
  }
  return true;
}

// Four hexadecimal digits.
static bool take_unit(reader *in, uint32_t *unit) {
  if (in->end - in->at < 4) return false;
  *unit = 0;
  for (int i = 0; i < 4; i++) {
    uint8_t digit = *in->at++;
    if (digit >= '0' && digit <= '9') *unit = *unit << 4 | (digit - '0');
    else if ((digit | 32) >= 'a' && (digit | 32) <= 'f') *unit = *unit << 4 | ((digit | 32) - 'a' + 10);
    else return false;
  }
  return true;
}

// What stands behind \u. Half of a surrogate pair is no character.
static bool take_character(reader *in, uint32_t *character) {
  if (!take_unit(in, character)) return false;
  if (*character < 0xd800 || *character > 0xdfff) return true;
  uint32_t low;
  if (*character > 0xdbff || !take(in, '\\') || !take(in, 'u') || !take_unit(in, &low)) return false;
  if (low < 0xdc00 || low > 0xdfff) return false;
  *character = 0x10000 + ((*character - 0xd800) << 10 | (low - 0xdc00));
  return true;
}

static size_t put_utf8(uint8_t *out, uint32_t character) {
  if (character < 0x80) {
    out[0] = (uint8_t)character;
    return 1;
  }
  size_t len = character < 0x800 ? 2 : character < 0x10000 ? 3 : 4;
  for (size_t i = len - 1; i > 0; i--, character >>= 6) out[i] = 0x80 | (character & 0x3f);
  static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
  out[0] = lead[len] | (uint8_t)character;
  return len;
}

size_t json_utf8_len(const uint8_t *at, size_t left) {
  if (left == 0) return 0;
  uint8_t lead = at[0];
  if (lead < 0x80) return 1;
  size_t len = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || left < len) return 0;
  for (size_t i = 1; i < len; i++)
    if ((at[i] & 0xc0) != 0x80) return 0;
  // Forms that are too long, surrogates, and what lies behind the last character.
  if ((lead == 0xe0 && at[1] < 0xa0) || (lead == 0xed && at[1] > 0x9f)) return 0;
  if ((lead == 0xf0 && at[1] < 0x90) || (lead == 0xf4 && at[1] > 0x8f)) return 0;
  return len;
}

// A string. Where `out` is there, its text is put into fresh memory.
static bool take_string(reader *in, span *out) {
  if (!take(in, '"')) return false;
  // No escape is shorter than what it stands for.
  uint8_t *text = out ? malloc((size_t)(in->end - in->at) + 1) : NULL;
  if (out && !text) abort();
  size_t len = 0;
  while (in->at < in->end && *in->at != '"' && *in->at >= 0x20) {
    uint8_t bytes[4];
    size_t count;
    if (take(in, '\\')) {
      static const char escapes[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
      const char *escape = in->at < in->end && *in->at ? strchr(escapes, *in->at) : NULL;
      uint32_t character;
      if (escape) {
        in->at++;
        character = (uint8_t)meanings[escape - escapes];
      } else if (!take(in, 'u') || !take_character(in, &character)) {
        break;
      }
      count = put_utf8(bytes, character);
    } else {
      count = json_utf8_len(in->at, (size_t)(in->end - in->at));
      if (count == 0) break;
      memcpy(bytes, in->at, count);
      in->at += count;
    }
    if (text) memcpy(text + len, bytes, count);
    len += count;
  }
  if (!take(in, '"')) {
    free(text);
    return false;
  }
  if (out) *out = (span){text, len};
  return true;
}

static bool skip_value(reader *in, int depth);

// Members or items, until the closing bracket.
static bool skip_inside(reader *in, char closing, int depth) {
  skip_space(in);
  if (take(in, closing)) return true;
  do {
    skip_space(in);
    if (closing == '}') {
      if (!take_string(in, NULL)) return false;
      skip_space(in);
      if (!take(in, ':')) return false;
    }
    if (!skip_value(in, depth)) return false;
  } while (take(in, ','));
  return take(in, closing);
}

// A value, with the space around it.
static bool skip_value(reader *in, int depth) {
  skip_space(in);
  if (depth == 0 || in->at == in->end) return false;
  bool ok;
  if (*in->at == '"') ok = take_string(in, NULL);
  else if (take(in, '{')) ok = skip_inside(in, '}', depth - 1);
  else if (take(in, '[')) ok = skip_inside(in, ']', depth - 1);
  else ok = take_word(in, "true") || take_word(in, "false") || take_word(in, "null") || skip_number(in);
  skip_space(in);
  return ok;
}

const char *json_text_member(const uint8_t *document, size_t document_len, const char *name, uint8_t **text,
                             size_t *len) {
  reader all = {document, document + document_len};
  if (!skip_value(&all, DEPTH_MAX) || all.at != all.end) return "not JSON";
  // From here on the form is known to be right.
  reader in = {document, document + document_len};
  skip_space(&in);
  if (!take(&in, '{')) return "not a JSON object";
  span found = {NULL, 0};
  skip_space(&in);
  while (!take(&in, '}')) {
    span member;
    skip_space(&in);
    take_string(&in, &member);
    bool is_wanted = member.len == strlen(name) && memcmp(member.ptr, name, member.len) == 0;
    free(member.ptr);
    skip_space(&in);
    take(&in, ':');
    skip_space(&in);
    if (is_wanted) {
      free(found.ptr);
      found = (span){NULL, 0};
    }
    if (!is_wanted || !take_string(&in, &found)) skip_value(&in, DEPTH_MAX);
    skip_space(&in);
    take(&in, ',');
  }
  if (!found.ptr) return "the member is missing or no text";
  *text = found.ptr;
  *len = found.len;
  return NULL;
}
