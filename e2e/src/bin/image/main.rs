//! `image FILE`: writes the product's image, as the Dockerfile's last stage has it, to an archive that every container
//! runtime reads. What the stage before it builds has to be built: see `make image`.

use std::{env, fs, path::PathBuf};

use anyhow::{Context as _, Result};
use rootcast_e2e::image::Dockerfile;

fn main() -> Result<()> {
    let file = env::args_os().nth(1).map(PathBuf::from).context("usage: image FILE")?;
    let sources = env::current_dir()?;
    let text = fs::read_to_string(sources.join("Dockerfile")).context("reading the Dockerfile of this folder")?;
    let dockerfile = Dockerfile::parse(&text)?;
    let reference = dockerfile.reference()?;
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    dockerfile.image(&sources)?.write(&reference, &file)?;
    println!("{}: {reference}, {} bytes", file.display(), fs::metadata(&file)?.len());
    Ok(())
}
