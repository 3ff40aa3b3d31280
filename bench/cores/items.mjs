// The work items of an operation, cut as native/ cuts them for float32, and their seconds at measured rates.

const BLOCK = 32;
const blocksFor = (count) => Math.ceil(count / BLOCK);

/** As `Cut` of native/matmul/matmul.h: row blocks × panels of each item. */
export function cutProduct(allRows, allPanels, allDepth, threads, cachedBlocks = 40, fewest = 4) {
  const pass = { rowBlocks: 8, panels: 8 };
  const wanted = threads === 1 ? 1 : 4 * threads;
  const fitting = Math.floor(cachedBlocks / allDepth);
  let rowBlocks = Math.min(allRows, fitting);
  let panels = 1;
  let panelItems = allPanels;
  if (fitting < Math.min(allRows, fewest)) {
    rowBlocks = Math.min(allRows, pass.rowBlocks);
    const rows = Math.ceil(allRows / rowBlocks);
    const share = Math.floor((allPanels * rows) / (threads === 1 ? 1 : 2 * threads));
    panels = Math.max(1, Math.min(pass.panels, allPanels, share));
    panelItems = Math.ceil(allPanels / panels);
    while (panelItems < allPanels && (rows * panelItems) % threads !== 0) panelItems++;
    panels = Math.ceil(allPanels / panelItems);
  }
  panelItems = Math.ceil(allPanels / panels);
  let rowItems = Math.ceil(allRows / rowBlocks);
  if (rowItems * panelItems < wanted) {
    rowItems = Math.max(rowItems, Math.min(Math.ceil(wanted / panelItems), Math.floor(allRows / fewest)));
    if (rowItems * panelItems < threads) rowItems = Math.min(Math.ceil(threads / panelItems), allRows);
  }
  rowBlocks = Math.ceil(allRows / rowItems);
  rowItems = Math.ceil(allRows / rowBlocks);
  return { rowBlocks, panels, rowItems, panelItems };
}

function productItems({ rows, columns }, depth, threads, rates) {
  const allRows = blocksFor(rows);
  const allPanels = blocksFor(columns);
  const cut = cutProduct(allRows, allPanels, blocksFor(depth), threads);
  const items = [];
  for (let r = 0; r < cut.rowItems; r++) {
    const ownRows = Math.min(rows, (r + 1) * cut.rowBlocks * BLOCK) - r * cut.rowBlocks * BLOCK;
    for (let p = 0; p < cut.panelItems; p++) {
      const panels = Math.min(cut.panels, allPanels - p * cut.panels);
      items.push((2 * Math.max(0, ownRows) * panels * BLOCK * depth) / rates.flops);
    }
  }
  return items;
}

/** `count` equal items of an operation that moves `bytes`. */
const even = (bytes, count, rates) => new Array(count).fill(bytes / count / rates.bytes);
const bytesOf = ({ rows, columns, arrays }) => 4 * arrays * blocksFor(rows) * BLOCK * blocksFor(columns) * BLOCK;

/** As `joinSegments` of native/attention/attention_plan.cpp, without row numbers. */
function joinSegments(segments) {
  const joined = [];
  const keyOf = (segment) => JSON.stringify(segment.context);
  for (const segment of segments) {
    const last = joined.at(-1);
    const isFull = last && last.rows % BLOCK === 0 && segment.context.length === 0;
    if (last && !isFull && last.rows + segment.length <= 256 && last.key === keyOf(segment)) {
      last.own.push(segment);
      last.rows += segment.length;
    } else {
      const contextKeys = segment.context.reduce((sum, { length }) => sum + length, 0);
      joined.push({ key: keyOf(segment), context: segment.context, contextKeys, own: [segment], rows: segment.length });
    }
  }
  for (const one of joined) {
    one.firstKey = one.own.flatMap((segment, i) => {
      const begin = one.own.slice(0, i).reduce((sum, { length }) => sum + length, 0);
      return new Array(segment.length).fill(begin);
    });
  }
  return joined;
}

/** Key blocks that the rows of a query block see, context first. */
function visibleBlocks(one, queryBlock) {
  const lastRow = Math.min((queryBlock + 1) * BLOCK, one.rows);
  return blocksFor(one.contextKeys) + blocksFor(lastRow) - Math.floor(one.firstKey[queryBlock * BLOCK] / BLOCK);
}

function attentionItems({ segments, heads, keyValueHeads, width }, rates) {
  const items = [];
  for (const one of joinSegments(segments)) {
    const blocks = blocksFor(one.rows);
    for (let head = 0; head < keyValueHeads; head++) {
      for (let first = 0; first < blocks; first += 8) {
        let products = 0;
        for (let b = first; b < Math.min(blocks, first + 8); b++) products += 2 * visibleBlocks(one, b);
        items.push(((products * 2 * BLOCK * BLOCK * width) / rates.attention) * (heads / keyValueHeads));
      }
    }
  }
  return items;
}

/** Groups of joined segments whose keys meet, as `findGroups`; an item is a piece of a group and some query heads of a key/value head. */
function gradientItems({ segments, heads, keyValueHeads, width }, rates) {
  const joined = joinSegments(segments);
  const groupOf = joined.map((_, i) => i);
  const ownerOf = new Map(
    segments.map((segment) => [segment.keyStart, joined.findIndex(({ own }) => own.includes(segment))]),
  );
  const rootOf = (i) => (groupOf[i] === i ? i : rootOf(groupOf[i]));
  for (const [i, { context }] of joined.entries()) {
    for (const span of context) {
      const owner = ownerOf.get(span.start);
      if (owner !== undefined) groupOf[Math.max(rootOf(i), rootOf(owner))] = Math.min(rootOf(i), rootOf(owner));
    }
  }
  const groups = new Map();
  for (const [i, one] of joined.entries()) {
    const blocks = blocksFor(one.rows);
    let products = 0;
    for (let b = 0; b < blocks; b++) products += 5 * visibleBlocks(one, b);
    const group = groups.get(rootOf(i)) ?? [];
    groups.set(rootOf(i), [...group, { blocks, products }]);
  }
  const headsPerKey = heads / keyValueHeads;
  const pairs = groups.size * keyValueHeads;
  const wanted = Math.min(headsPerKey, Math.max(1, Math.ceil(16 / pairs)));
  const headsPerPart = Math.ceil(headsPerKey / wanted);
  const mostPieces = Math.max(1, Math.floor(64 / (pairs * Math.ceil(headsPerKey / headsPerPart))));
  const items = [];
  for (const group of groups.values()) {
    const pieces = dividedGroup(group, mostPieces);
    for (let head = 0; head < keyValueHeads; head++) {
      for (const products of pieces) {
        for (let part = 0; part < headsPerKey; part += headsPerPart) {
          const own = Math.min(headsPerPart, headsPerKey - part);
          items.push(((products * 2 * BLOCK * BLOCK * width) / rates.attention) * own);
        }
      }
    }
  }
  return items;
}

/** As `divide` of native/attention/attention.cpp: the products of each piece. */
function dividedGroup(group, most) {
  const blocks = group.reduce((sum, one) => sum + one.blocks, 0);
  const wanted = Math.min(most, group.length);
  const pieces = [];
  let done = 0;
  for (const { blocks: own, products } of group) {
    if (pieces.length === 0 || 2 * done + own >= Math.floor((2 * pieces.length * blocks) / wanted)) pieces.push(0);
    pieces[pieces.length - 1] += products;
    done += own;
  }
  return pieces;
}

/** The parallel regions of an operation: the seconds of each of their items. Rates: flops and attention in FLOP/s, bytes in bytes/s, of one thread. */
export function regionsOf(operation, threads, rates) {
  const { kind, rows, columns } = operation;
  const rowItems = (size) => even(bytesOf(operation), Math.ceil(rows / size), rates);
  switch (kind) {
    case "product":
    case "backward product":
    case "weight gradient": {
      const regions = operation.depths.map((depth) => productItems(operation, depth, threads, rates));
      return operation.rotated
        ? [...regions, even(bytesOf({ rows, columns, arrays: 2 }), Math.ceil(rows / 16), rates)]
        : regions;
    }
    case "attention":
      return [attentionItems(operation, rates)];
    case "attention gradient":
      return [gradientItems(operation, rates)];
    case "swiglu":
    case "elements":
      return [even(bytesOf(operation), Math.ceil((blocksFor(rows) * blocksFor(columns)) / 16), rates)];
    case "norm":
    case "rows":
      return [rowItems(8)];
    case "embed":
      return [rowItems(32)];
    default: // rotary, loss
      return [rowItems(16)];
  }
}
