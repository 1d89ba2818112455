//! A child process that cannot outlive us.
//!
//! Each program runs under a tiny shell supervisor that reads signal names from
//! a pipe whose only write end is ours, passes them on, and kills the program at
//! the end of its input. The kernel closes our end when we exit, panic or are
//! killed, so nothing is left behind. Supervisors have process groups of their
//! own: Ctrl-C reaches us only, and they follow.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

/// `sh -c SUPERVISOR supervisor LOG PROGRAM ARGUMENT…`: prints the program's
/// process id and ends with the program's exit code.
const SUPERVISOR: &str = r#"
log=$1
shift
exec 3<&0 </dev/null
"$@" 3<&- >>"$log" 2>&1 &
program=$!
echo "$program"
exec >/dev/null
{
    while read -r signal <&3; do kill -s "$signal" "$program"; done
    kill -s KILL "$program"
} 2>/dev/null &
reader=$!
wait "$program"
code=$?
kill -s KILL "$reader"
exit "$code"
"#;

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this exit code.
    Code(i32),
    /// By this signal (9 is SIGKILL, 15 is SIGTERM).
    Signal(i32),
}

impl From<ExitStatus> for Exit {
    /// A shell reports a child that a signal ended as 128 and the signal.
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) if code > 128 => Self::Signal(code - 128),
            (Some(code), _) => Self::Code(code),
            (None, signal) => Self::Signal(signal.unwrap_or_default()),
        }
    }
}

/// A signal that a supervisor passes on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Signal {
    /// SIGTERM: please end.
    Terminate,
    /// SIGKILL: ended by the kernel.
    Kill,
    /// SIGSTOP: stands still until [`Signal::Continue`].
    Stop,
    /// SIGCONT: goes on.
    Continue,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Terminate => "TERM",
            Self::Kill => "KILL",
            Self::Stop => "STOP",
            Self::Continue => "CONT",
        }
    }
}

/// A program that runs under its supervisor. Dropping it kills the program and
/// waits for its end.
#[derive(Debug)]
pub(crate) struct Supervised {
    supervisor: Child,
    pid: u32,
    log: PathBuf,
}

impl Supervised {
    /// Starts `command`, of which program, arguments, folder and environment
    /// count; its output is appended to the file `log`.
    pub(crate) fn start(command: &Command, log: &Path) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let mut supervisor = Command::new("sh");
        supervisor
            .args(["-c", SUPERVISOR, "supervisor"])
            .arg(log)
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0);
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => supervisor.env(name, value),
                None => supervisor.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            supervisor.current_dir(folder);
        }
        File::options().create(true).append(true).open(log).with_context(|| format!("making the log of {program}"))?;
        let mut supervisor = supervisor.spawn().with_context(|| format!("starting {program}"))?;
        let mut line = String::new();
        BufReader::new(supervisor.stdout.take().expect("the supervisor's output is piped"))
            .read_line(&mut line)
            .with_context(|| format!("reading the process id of {program}"))?;
        let Ok(pid) = line.trim().parse() else {
            bail!("{program} did not start: its supervisor answered {line:?}");
        };
        Ok(Self { supervisor, pid, log: log.to_owned() })
    }

    /// The program's own process id.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Where the program's output goes.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// Passes a signal on; without effect once the program has ended.
    pub(crate) fn signal(&mut self, signal: Signal) {
        if let Some(pipe) = &mut self.supervisor.stdin {
            // Fails only when the supervisor, and so the program, is gone.
            let _: std::io::Result<()> = writeln!(pipe, "{}", signal.name());
        }
    }

    /// How the program ended; `None` while it runs.
    pub(crate) fn exit(&mut self) -> Result<Option<Exit>> {
        let status = self.supervisor.try_wait().context("waiting for a program")?;
        Ok(status.map(Exit::from))
    }

    /// Fails, with its log, when the program has ended.
    pub(crate) fn still_runs(&mut self, name: &str) -> Result<()> {
        if let Some(exit) = self.exit()? {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            bail!("{name} ended before it was ready ({exit:?}):\n{log}");
        }
        Ok(())
    }

    /// Waits until the program has ended.
    pub(crate) async fn ended(&mut self) -> Result<Exit> {
        loop {
            if let Some(exit) = self.exit()? {
                return Ok(exit);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        drop(self.supervisor.stdin.take());
        let _: std::io::Result<ExitStatus> = self.supervisor.wait();
    }
}
