# One static binary on nothing: no shell, no libraries, no root.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# The C library is linked in. A target is named so that this holds for the
# program only, not for the procedural macros that the compiler loads.
RUN target="$(rustc -vV | sed -n 's/^host: //p')" \
 && RUSTFLAGS='-C target-feature=+crt-static' \
    cargo build --release --locked --package rootcast --bin rootcast --target "$target" \
 && cp "target/$target/release/rootcast" /rootcast

FROM scratch
COPY --from=build /rootcast /rootcast
# The C library's allocator gives large pieces back to the system at once, rather
# than to keep them for the next rollout (mallopt(3)).
ENV MALLOC_MMAP_THRESHOLD_=65536 MALLOC_TRIM_THRESHOLD_=65536
USER 65532:65532
ENTRYPOINT ["/rootcast"]
CMD ["controller"]
