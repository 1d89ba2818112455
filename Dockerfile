# One static binary on nothing: no shell, no libraries, no root. `make image` makes the
# same image of the last stage without a container engine.
FROM rust:1.95-bookworm@sha256:6258907abe69656e41cd992e0b705cdcfabcbbe3db374f92ed2d47121282d4a1 AS build
WORKDIR /src
COPY . .
RUN make build

FROM scratch
LABEL org.opencontainers.image.title="rootcast" \
      org.opencontainers.image.description="Distributes trust anchors (CA certificates) to every namespace of a Kubernetes cluster" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /src/target/static/rootcast /rootcast
# The C library's allocator gives large pieces back to the system at once, rather
# than to keep them for the next rollout (mallopt(3)).
ENV MALLOC_MMAP_THRESHOLD_=65536 MALLOC_TRIM_THRESHOLD_=65536
USER 65532:65532
ENTRYPOINT ["/rootcast"]
CMD ["controller"]
