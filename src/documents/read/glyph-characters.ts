// PDF programs often name a glyph by the first character of its font that has it: 人 becomes the Kangxi radical ⼈ (U+2F08), 见 the radical
// ⻅ (U+2EC5), "fi" one ligature. No dictionary finds such names, so they become the characters that people type.

/** The first character of the CJK Radicals Supplement that has an ideograph. */
const FIRST = 0x2e81;

/** The ideographs of U+2E81 to U+2EF3 in order (Equivalent_Unified_Ideograph of the Unicode Character Database); U+2E9A is unassigned. */
const IDEOGRAPHS = Array.from(
  "厂乛乚乙亻冂𠘨刀刂卜㔾小小兀尣尢𡯂巳幺彑𫜹忄心扌攵\u2e9a旡日月歺母民氵氺灬爫爫丬牛犭王𤴔目示礻𥫗糹纟罓罒㓁冗𦉫羊𦍌𦍋耂肀聿肉𦥑艹艹艹虎衤覀西见角𧢲讠贝𧾷车辶辶辶邑钅長镸长门𨸏阝雨青韦页风飞食𩙿飠饣𩠐马骨鬼鱼鸟卤麦黄黾斉齐歯齿竜龙龜亀龟",
);

/** Radicals (both blocks) and Latin ligatures. */
const GLYPHS = /[\u2e81-\u2ef3\u2f00-\u2fd5\ufb00-\ufb06]/g;

/** The text with radicals and ligatures as ordinary characters. */
export function withoutGlyphCharacters(text: string): string {
  return text.replace(GLYPHS, (character) => {
    const code = character.charCodeAt(0);
    return code < 0x2f00 ? (IDEOGRAPHS[code - FIRST] ?? character) : character.normalize("NFKC");
  });
}
