# One image per program, with nothing in it but the program and the root certificates.
#
#   docker compose up --build     builds in a container; needs nothing but Docker
#   scripts/images.sh             builds on this machine, where no image can be pulled
#
# BuildKit is required: it runs only the stage, `build` or `prebuilt`, that BINARIES names.
ARG BINARIES=build

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# An explicit target keeps RUSTFLAGS away from build scripts and proc macros, which cannot be
# static. Cargo compares times, and the cache may be from another checkout, built after these
# files were written: hence `touch`. Function names are not stripped, for the sake of backtraces.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target,id=pasteup-target,sharing=locked \
    find . -path ./target -prune -o -type f -exec touch {} + \
    && triple="$(rustc --print host-tuple)" \
    && RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked --target "$triple" \
        -p pasteup -p headlines -p weather -p scores --features pasteup/wasm \
    && mkdir -p /dist/state \
    && for program in pasteup headlines weather scores; do \
        strip --strip-debug -o "/dist/$program" "target/$triple/release/$program" || exit 1; \
    done \
    && cp /etc/ssl/certs/ca-certificates.crt /dist/ \
    && echo 'fn main() { loop { std::thread::park() } }' \
        | rustc -C target-feature=+crt-static -C strip=symbols --target "$triple" -o /dist/pause -

FROM scratch AS prebuilt
COPY dist/ /dist/

FROM ${BINARIES} AS binaries

FROM scratch AS base
# Without them no TLS client can be created, and `pasteup serve` does not start.
COPY --from=binaries /dist/ca-certificates.crt /etc/ssl/certs/
# A number, since there is no /etc/passwd, and Kubernetes' runAsNonRoot cannot resolve a name.
USER 65532:65532

# Owns the network of a pod and does nothing else, so it never stops: docker-compose.yml explains why.
FROM scratch AS pause
COPY --from=binaries /dist/pause /
USER 65532:65532
# The first process of a container ignores SIGTERM unless it handles it.
STOPSIGNAL SIGKILL
ENTRYPOINT ["/pause"]

FROM base AS headlines
COPY --from=binaries /dist/headlines /
HEALTHCHECK --interval=5s --timeout=3s --start-period=5s CMD ["/headlines", "--health"]
ENTRYPOINT ["/headlines"]

FROM base AS weather
COPY --from=binaries /dist/weather /
HEALTHCHECK --interval=5s --timeout=3s --start-period=5s CMD ["/weather", "--health"]
ENTRYPOINT ["/weather"]

FROM base AS scores
COPY --from=binaries /dist/scores /
HEALTHCHECK --interval=5s --timeout=3s --start-period=5s CMD ["/scores", "--health"]
ENTRYPOINT ["/scores"]

# The last stage, so that a plain `docker build .` builds it. The site is mounted at /site.
FROM base AS pasteup
COPY --from=binaries /dist/pasteup /
# Pages only: the admin listener stays on the container's loopback.
ENV PASTEUP_SERVER__LISTEN=0.0.0.0:8080
# Compiled components can be kept in a volume: set PASTEUP_ON_DEMAND__CACHE to its path.
# What must outlive the container is kept here: mount a volume. An empty one takes the owner of this folder.
COPY --from=binaries --chown=65532:65532 /dist/state /state
ENV PASTEUP_SERVER__STATE=/state
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=3s --start-period=5s CMD ["/pasteup", "health", "--site", "/site"]
ENTRYPOINT ["/pasteup"]
CMD ["serve", "--site", "/site"]
