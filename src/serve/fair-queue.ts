/** Work that waits: of several clients, each with several requests, each with several items. */
export interface FairQueue<T> {
  readonly items: number;
  /** Requests with items that wait. */
  readonly requests: number;
  readonly cost: number;
  add(client: string, request: object, items: readonly T[]): void;
  /**
   * Takes items in turn: one of each client, and of a client's requests one after another. So a request of one item waits for one item of
   * each other client, however many those have. The number of requests that wait is taken whatever it costs, up to `OVER` times the cost: one
   * item of each delays nobody, and larger turns compute more in the same time.
   */
  take(bounds: { items: number; cost: number }): T[];
  /** Removes the items of a request. */
  drop(request: object): void;
  /** Items of a client that wait. */
  itemsOf(client: string): number;
}

/** How far the first item of each request may go beyond the cost of a turn. */
const OVER = 8;

export function createFairQueue<T>(costOf: (item: T) => number): FairQueue<T> {
  // The order of a Map is the order of the turns: a key that was served is set again, behind the others.
  const clients = new Map<string, Map<object, T[]>>();
  let items = 0;
  let requests = 0;
  let cost = 0;
  const count = (taken: readonly T[], sign: 1 | -1) => {
    items += sign * taken.length;
    for (const item of taken) cost += sign * costOf(item);
  };
  return {
    get items() {
      return items;
    },
    get requests() {
      return requests;
    },
    get cost() {
      return cost;
    },
    add(client, request, added) {
      if (added.length === 0) return;
      let own = clients.get(client);
      if (!own) {
        own = new Map();
        clients.set(client, own);
      }
      const before = own.get(request);
      // Taken from the end, which is cheap.
      const reversed = [...added].reverse();
      if (before) own.set(request, [...reversed, ...before]);
      else {
        own.set(request, reversed);
        requests++;
      }
      count(added, 1);
    },
    take(bounds) {
      const taken: T[] = [];
      let sum = 0;
      const least = Math.max(1, requests);
      while (clients.size > 0) {
        const [client, own] = clients.entries().next().value as [string, Map<object, T[]>];
        const [request, waiting] = own.entries().next().value as [object, T[]];
        const next = waiting[waiting.length - 1];
        const most = taken.length < least ? OVER * bounds.cost : bounds.cost;
        if (taken.length > 0 && (taken.length >= bounds.items || sum + costOf(next) > most)) break;
        waiting.pop();
        taken.push(next);
        sum += costOf(next);
        own.delete(request);
        if (waiting.length > 0) own.set(request, waiting);
        else requests--;
        clients.delete(client);
        if (own.size > 0) clients.set(client, own);
      }
      count(taken, -1);
      return taken;
    },
    drop(request) {
      for (const [client, own] of clients) {
        const waiting = own.get(request);
        if (!waiting) continue;
        count(waiting, -1);
        requests--;
        own.delete(request);
        if (own.size === 0) clients.delete(client);
      }
    },
    itemsOf(client) {
      let sum = 0;
      for (const waiting of clients.get(client)?.values() ?? []) sum += waiting.length;
      return sum;
    },
  };
}
