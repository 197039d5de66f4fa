# Builds Forebay and puts it alone onto a small base.
#   docker build -t forebay .

FROM docker.io/library/rust:1.95-bookworm AS builder
RUN apt-get update && apt-get install -y --no-install-recommends cmake && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock rust-toolchain.toml README.md ./
COPY config ./config
COPY src ./src
COPY benches ./benches
COPY tests ./tests
ARG PROFILE=release
RUN cargo build --profile "$PROFILE" --locked --bin forebay && mv target/*/forebay /forebay

# The image
FROM docker.io/library/debian:bookworm-slim
RUN [ -e /etc/ssl/certs/ca-certificates.crt ] || { apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*; }
COPY --from=builder /forebay /usr/local/bin/forebay
# A volume that is mounted here belongs to the user below.
RUN install -d -m 700 -o 65532 -g 65532 /var/cache/forebay
# Commands find ./forebay.toml here.
WORKDIR /etc/forebay
USER 65532:65532
EXPOSE 8080 8443 9145
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s CMD ["/usr/local/bin/forebay", "health"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/forebay"]
CMD ["serve", "--config", "/etc/forebay/forebay.toml"]
