//! A folder for one control plane's data, keys and logs that is gone when the
//! process is gone, however that ends. Where a test failed, the logs stay.

use std::{
    env, fs, panic,
    path::{Path, PathBuf},
    sync::{Mutex, Once, PoisonError},
};

use anyhow::{Context as _, Result};

use crate::janitor::Janitor;

/// Removes everything but, where the file `keep` says so, the logs. The programs that
/// write here end at the same moment, so removing is tried until nothing comes back.
const REMOVE: &str = r#"
for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    if [ -e "$1/keep" ]; then
        rm -rf "$1/data" "$1/keys" && [ ! -e "$1/data" ] && exit
    else
        rm -rf "$1" && [ ! -e "$1" ] && exit
    fi
    sleep 0.1
done 2>/dev/null
"#;

/// The folders in use by this process.
static LIVE: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// One control plane's folder: `data`, `keys` and `logs`.
#[derive(Debug)]
pub(crate) struct Scratch {
    root: PathBuf,
    _janitor: Janitor,
}

impl Scratch {
    /// Makes the folder below the system's folder for temporary files.
    pub(crate) fn new() -> Result<Self> {
        keep_logs_at_panic();
        let root = tempfile::Builder::new()
            .prefix("rootcast-")
            .tempdir_in(env::temp_dir())
            .context("making a folder for the control plane's data")?
            .keep();
        let janitor = Janitor::hire(REMOVE, [&root])?;
        let scratch = Self { root, _janitor: janitor };
        for folder in ["data", "keys", "logs"] {
            fs::create_dir(scratch.root.join(folder)).context("preparing the control plane's folder")?;
        }
        live(|roots| roots.push(scratch.root.clone()));
        Ok(scratch)
    }

    /// Where programs keep their data.
    pub(crate) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// Where keys, certificates and kubeconfigs are.
    pub(crate) fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    /// Where programs write their logs.
    pub(crate) fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        live(|roots| roots.retain(|root| *root != self.root));
    }
}

fn live<T>(with: impl FnOnce(&mut Vec<PathBuf>) -> T) -> T {
    with(&mut LIVE.lock().unwrap_or_else(PoisonError::into_inner))
}

/// From now on a panic, in any thread, marks the logs of every folder in use as
/// worth keeping and says where they are.
fn keep_logs_at_panic() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            previous(info);
            for root in live(|roots| roots.clone()) {
                keep(&root);
            }
        }));
    });
}

fn keep(root: &Path) {
    let told = root.join("keep");
    if !told.exists() && fs::write(told, "").is_ok() {
        eprintln!("the control plane's logs are kept in {}", root.join("logs").display());
    }
}
