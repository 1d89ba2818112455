//! The scripts in `.ci` that decide: whether commits have subjects of the right length, and what a release is called.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A folder with copies of files of this repository, under their names.
struct Copied(TempDir);

impl Copied {
    fn new(files: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let copy = folder.path().join(file);
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join(file), copy).unwrap();
        }
        Self(folder)
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    fn script(&self, name: &str, arguments: &[&str]) -> Output {
        Command::new(self.path(name)).args(arguments).output().unwrap()
    }

    /// Runs git as somebody, with nobody's settings.
    fn git(&self, author: &str, arguments: &[&str]) {
        let mut git = Command::new("git");
        git.current_dir(self.0.path()).args(arguments);
        git.envs([("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_SYSTEM", "/dev/null")]);
        for role in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{role}_NAME"), author).env(format!("GIT_{role}_EMAIL"), "somebody@example.com");
        }
        let output = git.output().unwrap();
        assert!(output.status.success(), "git {arguments:?}: {}", stderr(&output));
    }

    fn commit(&self, author: &str, subject: &str) {
        self.git(author, &["add", "--all"]);
        self.git(author, &["commit", "--quiet", "--allow-empty", "--message", subject]);
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Checks the subjects of a history, from the first commit to the newest, which says what was wrong.
fn subjects(history: &[(&str, &str)]) -> Result<(), String> {
    let repository = Copied::new(&[".ci/subjects"]);
    repository.git("Ada", &["init", "--quiet"]);
    for (author, subject) in history {
        repository.commit(author, subject);
    }
    let output = repository.script(".ci/subjects", &[]);
    if output.status.success() { Ok(()) } else { Err(stderr(&output)) }
}

#[test]
fn a_subject_has_at_most_72_characters() {
    let (longest, too_long) = ("ä".repeat(72), "ä".repeat(73));
    assert_eq!(subjects(&[("Ada", "Add it"), ("Ada", &longest)]), Ok(()));
    let error = subjects(&[("Ada", "Add it"), ("Ada", &too_long), ("Ada", "Go on")]).unwrap_err();
    assert!(error.contains("its subject has 73 characters, 72 are allowed") && error.contains(&too_long), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}

#[test]
fn a_commit_before_the_check_and_a_bots_may_have_a_longer_subject() {
    let too_long = "x".repeat(73);
    assert_eq!(subjects(&[("Ada", &too_long), ("dependabot[bot]", &too_long)]), Ok(()));
}

#[test]
fn without_history_no_subject_is_checked() {
    let output = Copied::new(&[".ci/subjects"]).script(".ci/subjects", &[]);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn a_release_is_named_as_the_program_its_image_and_its_chart() {
    let files = [".ci/release-notes", "Cargo.toml", "Dockerfile", "charts/rootcast/Chart.yaml"];
    let version = env!("CARGO_PKG_VERSION");
    let repository = Copied::new(&files);
    let changelog = format!("# Changelog\n\n## {version}\n\n### Part\n\n- New.\n\n## 0.0.1\n\n- Old.\n");
    fs::write(repository.path("CHANGELOG.md"), changelog).unwrap();

    let output = repository.script(".ci/release-notes", &[&format!("v{version}")]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "\n### Part\n\n- New.\n\n");

    let output = repository.script(".ci/release-notes", &["v0.0.1"]);
    let error = stderr(&output);
    assert!(!output.status.success() && output.stdout.is_empty());
    for file in ["Cargo.toml", "Dockerfile", "charts/rootcast/Chart.yaml"] {
        assert!(error.contains(&format!("{file} has no line")), "{error}");
    }
    assert!(!error.contains("CHANGELOG.md"), "{error}");
}
