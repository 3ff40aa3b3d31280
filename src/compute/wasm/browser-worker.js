// The worker of a browser for one thread of kernels.wasm.
import { serve } from "./serve.js";

addEventListener(
  "message",
  ({ data }) =>
    serve(
      data,
      (message) => postMessage(message),
      () => 0,
    ),
  { once: true },
);
