// The engine of plugins has no TextDecoder: this is what it takes to read UTF-8.

/**
 * The text that the bytes hold. Like a TextDecoder, it puts U+FFFD in place of what is no UTF-8 (RFC 3629).
 *
 * @param {Uint8Array} bytes
 * @returns {string}
 */
export function decodeUtf8(bytes) {
  let text = "";
  // Units of UTF-16, handed over in pieces: a call takes only so many arguments.
  let units = [];
  for (let at = 0; at < bytes.length; ) {
    const lead = bytes[at];
    const length = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
    let character = length === 1 ? lead : lead & (0x7f >> length);
    let taken = 1;
    while (taken < length && (bytes[at + taken] & 0xc0) === 0x80) character = (character << 6) | (bytes[at + taken++] & 0x3f);
    const isShortest = length < 3 || character >= (length === 3 ? 0x800 : 0x10000);
    const isWhole = length > 0 && taken === length && isShortest;
    if (!isWhole || (character >= 0xd800 && character < 0xe000) || character > 0x10ffff) {
      units.push(0xfffd);
      at += 1;
      continue;
    }
    if (character < 0x10000) units.push(character);
    else units.push(0xd7c0 + (character >> 10), 0xdc00 + (character & 0x3ff));
    at += length;
    if (units.length > 4096) {
      text += String.fromCharCode(...units);
      units = [];
    }
  }
  return text + String.fromCharCode(...units);
}
