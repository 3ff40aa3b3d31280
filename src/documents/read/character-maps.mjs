// Old PDFs name a character map of Adobe (GBK-EUC-H, UniGB-UCS2-H) instead of writing one to Unicode. The maps themselves are megabytes; text only
// needs to know which Unicode character a code means, and that follows from the name: codes of Uni… are Unicode, the others are an encoding.
// So a map is made whose "CID" of a code is its Unicode character, and the map from CIDs to Unicode is then the identity.

const UNICODE = /^Uni(?:GB|CNS|JIS|KS)-(?:UCS2|UTF16)-[HV]$/;
/** Maps of encodings of two bytes, by the name of their decoder. */
const ENCODINGS = {
  gb18030: /^(?:GB-EUC|GBK-EUC|GBKp-EUC|GBpc-EUC)-[HV]$/,
  big5: /^(?:ETen-B5|ETenms-B5|B5pc)-[HV]$/,
};
const TO_UNICODE = /^Adobe-(?:GB1|CNS1|Japan1|Korea1)-UCS2$/;

const hex = (code) => code.toString(16).padStart(4, "0");

function mapText(name, body) {
  return `/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /${name} def /CMapType 1 def\n${body}\nendcmap end end\n`;
}

/** Blocks of at most 100 entries, as the format wants. */
function blocks(kind, entries) {
  const parts = [];
  for (let i = 0; i < entries.length; i += 100) {
    const some = entries.slice(i, i + 100);
    parts.push(`${some.length} begin${kind}\n${some.join("\n")}\nend${kind}`);
  }
  return parts.join("\n");
}

const WIDE_CODES = "1 begincodespacerange <0000> <FFFF> endcodespacerange";

function unicodeMap(name) {
  return mapText(name, `${WIDE_CODES}\n1 begincidrange <0000> <FFFF> 0 endcidrange`);
}

function encodingMap(name, encoding) {
  const decoder = new TextDecoder(encoding);
  const entries = [];
  for (let lead = 0x81; lead <= 0xfe; lead++) {
    for (let trail = 0x40; trail <= 0xfe; trail++) {
      const text = decoder.decode(Uint8Array.of(lead, trail));
      if (text.length === 1 && text !== "\ufffd") entries.push(`<${hex(lead * 256 + trail)}> ${text.charCodeAt(0)}`);
    }
  }
  const codes =
    "2 begincodespacerange <00> <80> <8140> <FEFE> endcodespacerange\n1 begincidrange <20> <7e> 32 endcidrange";
  return mapText(name, `${codes}\n${blocks("cidchar", entries)}`);
}

function identityToUnicode(name) {
  // A range may not pass over the end of its last byte.
  const ranges = Array.from(
    { length: 256 },
    (_, high) => `<${hex(high * 256)}> <${hex(high * 256 + 255)}> <${hex(high * 256)}>`,
  );
  return mapText(name, `${WIDE_CODES}\n${blocks("bfrange", ranges)}`);
}

/** The maps of one document. `missing` are names that none can be made for. */
export function createCharacterMaps() {
  const missing = new Set();
  let isMade = false;
  return {
    missing,
    /** Whether a map was made: its fonts have no real CIDs. */
    isMade: () => isMade,
    /** The bytes of a map; throws for one that is not known. */
    bytesOf(name) {
      const encoding = Object.keys(ENCODINGS).find((one) => ENCODINGS[one].test(name));
      let text = null;
      if (UNICODE.test(name)) text = unicodeMap(name);
      else if (encoding !== undefined) text = encodingMap(name, encoding);
      // Fonts with real CIDs ask for this one first, and would read nonsense from it.
      else if (TO_UNICODE.test(name) && isMade) return new TextEncoder().encode(identityToUnicode(name));
      if (text === null) {
        missing.add(name);
        throw new Error(`the character map ${name} is not there`);
      }
      isMade = true;
      return new TextEncoder().encode(text);
    },
  };
}
