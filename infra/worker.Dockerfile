# The worker's image. From the root of the repository:
#
#   docker build -f infra/worker.Dockerfile -t trunkline-worker .
#
# It has the program, certificates, and no shell. It writes nothing to its disk, so its root may be read-only.

FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends cmake && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# Dependencies, and what was compiled of ours, stay in BuildKit's caches from one build to the next. `release`, not `bundle`: a
# worker runs for weeks, and its size is of no matter.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    cargo build --release --locked --package worker \
    && cp target/release/worker /worker

# glibc and certificates, as Debian 12 has them; user and group 65532.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /worker /worker
USER 65532:65532
ENV LOG_FORMAT=json
# Only asks itself: nobody calls a worker.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 CMD ["/worker", "health"]
# It gives everything back at SIGTERM.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/worker"]
