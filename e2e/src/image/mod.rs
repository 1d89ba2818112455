//! Container images without a container engine: an archive of the OCI image layout
//! (<https://github.com/opencontainers/image-spec/blob/main/image-layout.md>), which
//! `ctr`, `docker load`, `podman load` and `skopeo` read.
//!
//! Same input, same bytes: no times, no owners, blobs in the order of their making.

mod dockerfile;
mod layer;

use std::{
    collections::BTreeMap,
    env,
    fmt::Write as _,
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

use anyhow::{Context as _, Result};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

pub use dockerfile::Dockerfile;
pub use layer::{Entry, Layer};

/// An image for this machine's architecture.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// How its containers are started.
    pub config: Config,
    /// Its files, the lowest layer first.
    pub layers: Vec<Layer>,
}

/// How containers of an image are started: the OCI image configuration's `config`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Config {
    /// `user` or `user:group`; root when empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Variables, as in `NAME=value`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// The program and its first arguments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// Further arguments, which a pod may replace.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// What the image is.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl Image {
    /// Writes the archive, under a name such as `rootcast:0.1.0`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, reference: &str, file: &Path) -> Result<()> {
        let write = || {
            let mut archive = Archive::new(BufWriter::new(File::create(file)?));
            archive.image(self, reference)?;
            archive.finish()
        };
        write().with_context(|| format!("writing the image {}", file.display()))
    }
}

/// The archive that is being written.
struct Archive<W: Write>(tar::Builder<W>);

impl<W: Write> Archive<W> {
    fn new(to: W) -> Self {
        Self(tar::Builder::new(to))
    }

    fn image(&mut self, image: &Image, reference: &str) -> Result<()> {
        let Image { config, layers } = image;
        self.file("oci-layout", &serde_json::to_vec(&json!({"imageLayoutVersion": "1.0.0"}))?)?;
        let mut described = Vec::new();
        let mut ids = Vec::new();
        for layer in layers {
            // Not compressed: the digest of the content is that of the blob.
            let descriptor = self.blob("application/vnd.oci.image.layer.v1.tar", layer.bytes())?;
            ids.push(descriptor["digest"].clone());
            described.push(descriptor);
        }
        let config = serde_json::to_vec(&json!({
            "architecture": architecture(),
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": ids},
        }))?;
        let config = self.blob("application/vnd.oci.image.config.v1+json", &config)?;
        let manifest = "application/vnd.oci.image.manifest.v1+json";
        let content = json!({"schemaVersion": 2, "mediaType": manifest, "config": config, "layers": described});
        let mut descriptor = self.blob(manifest, &serde_json::to_vec(&content)?)?;
        let name = canonical(reference);
        descriptor["platform"] = json!({"architecture": architecture(), "os": "linux"});
        descriptor["annotations"] = json!({
            "io.containerd.image.name": name,
            "org.opencontainers.image.ref.name": name.rsplit_once(':').map_or("latest", |(_, tag)| tag),
        });
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [descriptor],
        });
        self.file("index.json", &serde_json::to_vec(&index)?)
    }

    fn finish(self) -> Result<()> {
        Ok(self.0.into_inner()?.flush()?)
    }

    /// Adds a blob and describes it.
    fn blob(&mut self, media_type: &str, bytes: &[u8]) -> Result<Value> {
        let mut digest = String::new();
        for byte in Sha256::digest(bytes) {
            write!(digest, "{byte:02x}")?;
        }
        self.file(&format!("blobs/sha256/{digest}"), bytes)?;
        Ok(json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len()}))
    }

    fn file(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        let mut header = layer::header(tar::EntryType::Regular, 0o644);
        header.set_size(bytes.len() as u64);
        Ok(self.0.append_data(&mut header, path, bytes)?)
    }
}

/// This machine's architecture in Go's words, which are those of images.
fn architecture() -> &'static str {
    match env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The whole name that container runtimes make of a short one.
fn canonical(reference: &str) -> String {
    let named = match reference.split_once('/') {
        Some((registry, _)) if registry.contains(['.', ':']) || registry == "localhost" => reference.to_owned(),
        Some(_) => format!("docker.io/{reference}"),
        None => format!("docker.io/library/{reference}"),
    };
    match named.rsplit('/').next() {
        Some(last) if last.contains(':') => named,
        _ => format!("{named}:latest"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_is_that_of_docker_hub() {
        for (short, whole) in [
            ("rootcast:0.1.0", "docker.io/library/rootcast:0.1.0"),
            ("team/rootcast", "docker.io/team/rootcast:latest"),
            ("localhost/busybox:1", "localhost/busybox:1"),
            ("registry.example:5000/rootcast", "registry.example:5000/rootcast:latest"),
        ] {
            assert_eq!(canonical(short), whole);
        }
    }

    #[test]
    fn the_same_image_is_the_same_bytes() {
        let image = |bytes: &[u8]| {
            let layer = Layer::new([("/bin/program", Entry::File(0o755, bytes))]).unwrap();
            let mut archive = Archive::new(Vec::new());
            archive.image(&Image { layers: vec![layer], ..Image::default() }, "program:1").unwrap();
            archive.0.into_inner().unwrap()
        };
        assert_eq!(image(b"one"), image(b"one"));
        assert_ne!(image(b"one"), image(b"two"));
    }
}
