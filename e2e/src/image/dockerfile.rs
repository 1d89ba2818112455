//! The last stage of a Dockerfile, read as far as an image from scratch needs it;
//! whatever else stands there is refused, so that the image is the one that a container
//! engine would make.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};

use super::{Config, Entry, Image, Layer};

/// What the last stage says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dockerfile {
    config: Config,
    copies: Vec<Copied>,
}

/// A file that is built in an earlier stage, in whose working folder the sources are.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Copied {
    /// Its path in the folder of the sources.
    from: PathBuf,
    /// Its path in the image.
    to: String,
}

impl Dockerfile {
    /// Reads a Dockerfile.
    ///
    /// # Errors
    /// With its line, when the last stage does not begin from scratch or has an instruction that is not known here.
    pub fn parse(text: &str) -> Result<Self> {
        let mut folders = BTreeMap::new();
        let mut stage = None;
        let mut read = Self::default();
        for (line, instruction) in instructions(text) {
            let (keyword, rest) = instruction.split_once(' ').unwrap_or((&instruction, ""));
            let at = || format!("Dockerfile, line {line}: {instruction}");
            match (keyword, stage.as_deref()) {
                ("FROM", _) => {
                    ensure!(read == Self::default(), "{}: the stage from scratch is to be the last one", at());
                    let words: Vec<_> = rest.split_whitespace().collect();
                    stage = Some(match words[..] {
                        ["scratch"] => "scratch".to_owned(),
                        [_, "AS", name] => name.to_owned(),
                        _ => bail!("{}: neither `scratch` nor a stage with a name", at()),
                    });
                }
                (_, Some("scratch")) => read.instruction(keyword, rest, &folders).with_context(at)?,
                ("WORKDIR", Some(name)) => drop(folders.insert(name.to_owned(), rest.to_owned())),
                (_, Some(_)) => {}
                (_, None) => bail!("{}: before any stage", at()),
            }
        }
        ensure!(stage.as_deref() == Some("scratch"), "the last stage of the Dockerfile does not begin from scratch");
        Ok(read)
    }

    /// The image, of what was built in the folder of the sources.
    ///
    /// # Errors
    /// When a file is missing there.
    pub fn image(&self, sources: &Path) -> Result<Image> {
        let Self { config, copies } = self;
        let layers = copies.iter().map(|Copied { from, to }| {
            let file = sources.join(from);
            let read = || Ok::<_, std::io::Error>((fs::read(&file)?, fs::metadata(&file)?.permissions().mode()));
            let (bytes, mode) = read().with_context(|| format!("reading {}, which was to be built", file.display()))?;
            // Not as the umask of whoever built it would have it.
            let mode = if mode & 0o111 == 0 { 0o644 } else { 0o755 };
            Layer::new([(to.as_str(), Entry::File(mode, &bytes))])
        });
        Ok(Image { config: config.clone(), layers: layers.collect::<Result<_>>()? })
    }

    /// The image's short name: title and version, as its labels say.
    ///
    /// # Errors
    /// When it has no such labels.
    pub fn reference(&self) -> Result<String> {
        let label = |name: &str| {
            let key = format!("org.opencontainers.image.{name}");
            self.config.labels.get(&key).with_context(|| format!("the Dockerfile has no LABEL {key}"))
        };
        Ok(format!("{}:{}", label("title")?, label("version")?))
    }

    fn instruction(&mut self, keyword: &str, rest: &str, folders: &BTreeMap<String, String>) -> Result<()> {
        let Self { config, copies } = self;
        match keyword {
            "LABEL" => config.labels.extend(pairs(rest)?),
            "ENV" => config.env.extend(pairs(rest)?.into_iter().map(|(name, value)| format!("{name}={value}"))),
            "USER" => rest.clone_into(&mut config.user),
            "ENTRYPOINT" => config.entrypoint = list(rest)?,
            "CMD" => config.cmd = list(rest)?,
            "COPY" => copies.push(copied(rest, folders)?),
            _ => bail!("{keyword} is not known here: teach it to e2e/src/image/dockerfile.rs"),
        }
        Ok(())
    }
}

/// Instructions with the lines on which they begin; without comments, and continued lines as one.
fn instructions(text: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut continued = false;
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let content = line.strip_suffix('\\').unwrap_or(line).trim_end();
        match found.last_mut() {
            Some((_, begun)) if continued => {
                begun.push(' ');
                begun.push_str(content);
            }
            _ => found.push((number, content.to_owned())),
        }
        continued = line.ends_with('\\');
    }
    found
}

/// `--from=STAGE SOURCE TARGET`, of one file.
fn copied(rest: &str, folders: &BTreeMap<String, String>) -> Result<Copied> {
    let words: Vec<_> = rest.split_whitespace().collect();
    let [from, source, to] = words[..] else { bail!("not of the form --from=STAGE FILE FILE") };
    let stage = from.strip_prefix("--from=").context("not from an earlier stage")?;
    let folder = folders.get(stage).with_context(|| format!("no stage {stage} with a WORKDIR comes before"))?;
    let from = Path::new(source).strip_prefix(folder).with_context(|| format!("{source} is not in {folder}"))?;
    ensure!(!to.ends_with('/'), "{to} is a folder: name the file");
    Ok(Copied { from: from.to_owned(), to: to.to_owned() })
}

/// `name=value name="a value"`.
fn pairs(rest: &str) -> Result<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    let mut rest = rest.trim();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').context("not of the form NAME=VALUE")?;
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').context("a quote has no end")?,
            None => after.split_once(' ').unwrap_or((after, "")),
        };
        ensure!(!value.contains(['\\', '$']), "{value}: neither escapes nor variables are known here");
        pairs.push((name.to_owned(), value.to_owned()));
        rest = after.trim_start();
    }
    Ok(pairs)
}

/// `["program", "argument"]`.
fn list(rest: &str) -> Result<Vec<String>> {
    serde_json::from_str(rest).context("not a list, as in [\"program\"]: there is no shell")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::workspace;

    const BUILD: &str = "FROM rust AS build\nWORKDIR /src\nRUN make \\\n  static\n";

    #[test]
    fn the_last_stage_is_read() {
        let text = "FROM scratch\n# why\nLABEL a=\"b c\" \\\n  d=e\nCOPY --from=build /src/out/program /program\nENV A=1 B=2\nUSER 1:1\nENTRYPOINT [\"/program\"]\nCMD [\"go\"]\n";
        let read = Dockerfile::parse(&format!("{BUILD}{text}")).unwrap();
        let config = Config {
            user: "1:1".into(),
            env: vec!["A=1".into(), "B=2".into()],
            entrypoint: vec!["/program".into()],
            cmd: vec!["go".into()],
            labels: [("a", "b c"), ("d", "e")].map(|(name, value)| (name.into(), value.into())).into(),
        };
        let copies = vec![Copied { from: "out/program".into(), to: "/program".into() }];
        assert_eq!(read, Dockerfile { config, copies });
    }

    #[test]
    fn what_is_not_known_is_refused_with_its_line() {
        for (text, refusal) in [
            ("FROM scratch\nVOLUME /data\n", "line 6: VOLUME /data"),
            ("FROM scratch\nCOPY program /program\n", "line 6: COPY program /program"),
            ("FROM scratch\nCMD go\n", "line 6: CMD go"),
            ("FROM scratch\nENV A=$B\n", "line 6: ENV A=$B"),
            ("FROM debian AS last\nCMD [\"go\"]\n", "does not begin from scratch"),
            ("FROM scratch\nCMD [\"go\"]\nFROM scratch\n", "is to be the last one"),
        ] {
            let error = format!("{:#}", Dockerfile::parse(&format!("{BUILD}{text}")).unwrap_err());
            assert!(error.contains(refusal), "{error}");
        }
    }

    #[test]
    fn our_image_has_the_name_and_version_that_the_chart_asks_for() {
        let text = |file: &str| fs::read_to_string(workspace().join(file)).unwrap();
        let reference = Dockerfile::parse(&text("Dockerfile")).unwrap().reference().unwrap();
        let (name, version) = reference.split_once(':').unwrap();
        assert_eq!(version, env!("CARGO_PKG_VERSION"));
        assert!(text("charts/rootcast/Chart.yaml").contains(&format!("appVersion: \"{version}\"")));
        assert!(text("charts/rootcast/values.yaml").contains(&format!("\n  name: {name}\n")));
    }
}
