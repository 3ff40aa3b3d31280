/**
 * Places the nodes of a graph by forces (Fruchterman and Reingold 1991, with gravity): nodes push each other away, edges pull, and all are
 * drawn to the centre. The result is the same in every browser; about `size` units wide. It runs inside of the page: it must not use anything
 * outside of itself.
 */
export function layout(nodeCount: number, edges: readonly (readonly [number, number])[], size: number): Float64Array {
  const places = new Float64Array(2 * nodeCount);
  const moves = new Float64Array(2 * nodeCount);
  const distance = size / Math.sqrt(Math.max(1, nodeCount)) / 1.3;
  // A sunflower's spiral: no two nodes at one place, and no random numbers.
  for (let i = 0; i < nodeCount; i++) {
    const radius = 0.5 * distance * Math.sqrt(i + 0.5);
    places[2 * i] = radius * Math.cos(2.399963 * i);
    places[2 * i + 1] = radius * Math.sin(2.399963 * i);
  }
  const rounds = nodeCount > 200 ? 150 : 300;
  for (let round = 0; round < rounds; round++) {
    moves.fill(0);
    for (let a = 0; a < nodeCount; a++) {
      for (let b = a + 1; b < nodeCount; b++) {
        const x = places[2 * a] - places[2 * b];
        const y = places[2 * a + 1] - places[2 * b + 1];
        const push = (distance * distance) / Math.max(x * x + y * y, 1e-4);
        moves[2 * a] += x * push;
        moves[2 * a + 1] += y * push;
        moves[2 * b] -= x * push;
        moves[2 * b + 1] -= y * push;
      }
    }
    for (const [a, b] of edges) {
      const x = places[2 * a] - places[2 * b];
      const y = places[2 * a + 1] - places[2 * b + 1];
      // Weaker than in the paper: an edge is 1.8 times as long as nodes are apart, so that its tip and its name can be seen.
      const pull = Math.sqrt(x * x + y * y) / (6 * distance);
      moves[2 * a] -= x * pull;
      moves[2 * a + 1] -= y * pull;
      moves[2 * b] += x * pull;
      moves[2 * b + 1] += y * pull;
    }
    const most = (size / 10) * (1 - round / rounds) + 0.01;
    for (let i = 0; i < nodeCount; i++) {
      const x = moves[2 * i] - 0.15 * places[2 * i];
      const y = moves[2 * i + 1] - 0.15 * places[2 * i + 1];
      const length = Math.sqrt(x * x + y * y);
      const step = length === 0 ? 0 : Math.min(length, most) / length;
      places[2 * i] += x * step;
      places[2 * i + 1] += y * step;
    }
  }
  return places;
}
