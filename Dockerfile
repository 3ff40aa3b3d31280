# cre serve in a container. Runs are mounted: docker run -p 8765:8765 -v $PWD/runs:/runs:ro -v $PWD/token.txt:/token.txt:ro cre-llm /runs/mine
# The demonstration's run is inside: docker run -p 8765:8765 -v $PWD/token.txt:/token.txt:ro cre-llm docs/demo/run
FROM node:20-bookworm AS build
# The image runs on other processors than the one that builds it; without kernels it would be slow.
ENV CRE_LEVELS=all CRE_NATIVE=require
WORKDIR /build
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts
COPY . .
RUN npm run build && rm -rf build/native/objects && npm prune --omit=dev --ignore-scripts

FROM node:20-bookworm-slim
ENV NODE_ENV=production
WORKDIR /app
COPY --from=build /build/package.json /build/LICENSE ./
COPY --from=build /build/node_modules node_modules
COPY --from=build /build/dist dist
COPY --from=build /build/build build
COPY --from=build /build/models models
COPY --from=build /build/demo demo
COPY --from=build /build/docs/demo/run docs/demo/run
USER node
EXPOSE 8765
HEALTHCHECK CMD ["node", "-e", "fetch('http://127.0.0.1:8765/ready').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
# Any host but this machine needs a token.
ENTRYPOINT ["node", "dist/cli.js", "serve", "--host", "0.0.0.0", "--token-file", "/token.txt"]
