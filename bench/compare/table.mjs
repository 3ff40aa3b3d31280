// The table of bench/compare.mjs: medians, quartiles and ratios.

/** Lower quartile, median, upper quartile. */
export function quartiles(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share) => {
    const place = share * (sorted.length - 1);
    const low = Math.floor(place);
    return sorted[low] + (place - low) * ((sorted[low + 1] ?? sorted[low]) - sorted[low]);
  };
  return [at(0.25), at(0.5), at(0.75)];
}

const line = (cells) => `| ${cells.join(" | ")} |`;
const table = (head, rows) => [line(head), line(head.map(() => "---")), ...rows.map(line)];
const span = (values, digits) => {
  const [low, middle, high] = quartiles(values);
  return [middle.toFixed(digits), `${low.toFixed(digits)} – ${high.toFixed(digits)}`];
};

/** Rows a second of every contender, by the clock and by processor time, and how often its label is that of the reference. */
export function contenderLines(contenders) {
  const reference = contenders.find(({ isReference, labels }) => isReference && labels);
  const rows = contenders.map(({ name, task, ready, turns, failed, labels }) => {
    if (turns.length === 0) return [name, task, "–", "–", "–", "–", "–", "–", `failed: ${failed}`];
    const seconds = turns.map((turn) => turn.rows / turn.seconds);
    const processor = turns.map((turn) => turn.rows / turn.processorSeconds);
    const same = reference && labels ? labels.filter((label, i) => label === reference.labels[i]).length : null;
    return [
      ...[name, task, ready.precision, ...span(seconds, 1), span(processor, 1)[0]],
      turns[0].computedTokens?.toFixed(1) ?? "",
      `${Math.round(Math.max(...turns.map((turn) => turn.peakResidentBytes)) / 1e6)} MB`,
      same === null ? "" : `${((100 * same) / labels.length).toFixed(1)} %`,
    ];
  });
  const head = [
    "contender",
    "task",
    "precision",
    "rows/s",
    "quartiles",
    "rows a processor second",
    "tokens computed a row",
  ];
  return table([...head, "peak memory", reference ? `labels as ${reference.name}` : "labels"], rows);
}

/** Each of ours against each peer of the same task: ratios within the turns. */
export function ratioLines(contenders) {
  const rows = [];
  for (const own of contenders.filter(({ isOurs, turns }) => isOurs && turns.length > 0)) {
    for (const peer of contenders.filter(
      ({ isOurs, task, turns }) => !isOurs && task === own.task && turns.length > 0,
    )) {
      const count = Math.min(own.turns.length, peer.turns.length);
      const ratios = (key) =>
        Array.from(
          { length: count },
          (_, i) => peer.turns[i][key] / peer.turns[i].rows / (own.turns[i][key] / own.turns[i].rows),
        );
      const [clock, between] = span(ratios("seconds"), 2);
      const [processor, processorBetween] = span(ratios("processorSeconds"), 2);
      rows.push([`${own.name} ÷ ${peer.name}`, `${clock}×`, between, `${processor}×`, processorBetween]);
    }
  }
  return table(["ratio of rows/s, within turns", "median", "quartiles", "by processor time", "quartiles"], rows);
}
