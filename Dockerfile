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
USER 65532:65532
ENTRYPOINT ["/rootcast"]
CMD ["controller"]
