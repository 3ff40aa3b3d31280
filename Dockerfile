# cre serve in a container. Runs are mounted: docker run -p 8765:8765 -v $PWD/runs:/runs:ro -v $PWD/token.txt:/token.txt:ro cre-llm /runs/mine
FROM node:20-bookworm AS build
WORKDIR /build
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts
COPY . .
RUN npm run build && npm prune --omit=dev --ignore-scripts

FROM node:20-bookworm-slim
ENV NODE_ENV=production
WORKDIR /app
COPY --from=build /build/package.json ./
COPY --from=build /build/node_modules node_modules
COPY --from=build /build/dist dist
COPY --from=build /build/build build
COPY --from=build /build/native native
COPY --from=build /build/models models
USER node
EXPOSE 8765
HEALTHCHECK CMD ["node", "-e", "fetch('http://127.0.0.1:8765/ready').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
# Any host but this machine needs a token.
ENTRYPOINT ["node", "dist/cli.js", "serve", "--host", "0.0.0.0", "--token-file", "/token.txt"]
