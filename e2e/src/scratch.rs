//! A folder for one control plane's data, keys and logs that is gone when the
//! process is gone, however that ends. Where a test failed, the logs stay.
//!
//! A tiny shell process, the janitor, holds the read end of a pipe whose only
//! write end is ours. The kernel closes it when we exit, are killed or drop the
//! folder, and then the janitor removes it. A static, which is never dropped,
//! needs no care of its own.

use std::{
    env, fs, io,
    os::unix::process::CommandExt as _,
    panic,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, Once, PoisonError},
};

use anyhow::{Context as _, Result};

/// Waits for the end of its input, then removes everything but, where the file
/// `keep` says so, the logs. The programs that write here end at the same
/// moment, so removing is tried until nothing comes back.
const JANITOR: &str = r#"
read -r _
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
    janitor: Child,
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
        let janitor = Command::new("sh")
            .args(["-c", JANITOR, "janitor"])
            .arg(&root)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("starting the janitor of the control plane's data")?;
        let scratch = Self { root, janitor };
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
        drop(self.janitor.stdin.take());
        // The janitor ends by itself; waiting makes "dropped" mean "gone".
        let _: io::Result<_> = self.janitor.wait();
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
