//! Verdicts by cainjector's rules equal cainjector's own, except for the differences that are listed here.
//!
//! `cainjector/recorded.json` is a table of configurations and pods with the responses of cainjector over TLS:
//! the volumes of the pod afterwards, and of each container the mounts and variables.

use std::collections::{BTreeMap, BTreeSet};

use rootcast::inject::{CainjectorOptions, CainjectorOptionsError, Denial, Operator, PodReview, Policy};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Recorded {
    configs: BTreeMap<String, Config>,
    pods: BTreeMap<String, Value>,
    responses: Vec<Response>,
    /// Configuration, pod, namespace, operator, and the index of the response.
    rows: Vec<(String, String, String, String, usize)>,
}

#[derive(Deserialize)]
struct Config {
    /// The content of the file; `None` if there is no file.
    text: Option<String>,
    /// Whether cainjector exits with an error because of the file.
    refused: bool,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Response {
    Refused { refused: u16, message: String },
    Pod(After),
    Unchanged {},
}

#[derive(Clone, Deserialize)]
struct After {
    /// Name, kind, and name of the object.
    volumes: Vec<(String, String, String)>,
    /// Name, mounts as volume and path, variables as name and value.
    containers: Vec<(String, Pairs, Pairs)>,
}

type Pairs = Vec<(String, String)>;

/// What a review adds to a pod.
#[derive(Debug, Default, PartialEq)]
struct Gain {
    volumes: Vec<(String, String)>,
    /// By container: paths with the source that is mounted there, and variables.
    containers: BTreeMap<String, (Pairs, Pairs)>,
}

/// One row of the table.
struct Case<'a> {
    config: &'a str,
    operator: Operator,
    pod: Value,
    annotations: BTreeMap<String, String>,
}

/// A difference: its reason, and a function that applies it to cainjector's gain and returns whether it applied.
type Difference = (&'static str, fn(&Case<'_>, &mut Gain) -> bool);

const DIFFERENCES: &[Difference] = &[
    ("a pod without any source is left alone; cainjector mounts a volume that is not there", |_, gain| {
        clear(gain, |gain| mounts(gain).any(|(_, source)| source == "missing"))
    }),
    ("windows and mirror pods are left alone", |case, gain| {
        let windows = case.pod["spec"]["os"]["name"] == "windows";
        clear(gain, |_| windows || case.annotations.contains_key("kubernetes.io/config.mirror"))
    }),
    ("a volume of the name with another source is the user's; cainjector adds a second one", |case, gain| {
        let own = volumes(&case.pod);
        clear(gain, |gain| gain.volumes.iter().any(|(name, source)| own.get(name).is_some_and(|own| own != source)))
    }),
    ("a volume that is there is not added again", |case, gain| {
        let own = volumes(&case.pod);
        drain(&mut gain.volumes, |(name, _)| own.contains_key(name))
    }),
    ("mountPath is /cacerts where nobody says, as cainjector's README has it", |_, gain| {
        each(gain, |mounts, env| {
            let mut found = false;
            for (path, _) in mounts.iter_mut().filter(|(path, _)| path.is_empty()) {
                "/cacerts".clone_into(path);
                found = true;
            }
            for (_, value) in env.iter_mut().filter(|_| found) {
                value.insert_str(0, "/cacerts");
            }
            found
        })
    }),
    ("certFile is ca.crt where nobody says, as cainjector's README has it", |_, gain| {
        each(gain, |_, env| {
            let mut open: Vec<_> = env.iter_mut().filter(|(_, value)| value.ends_with('/')).collect();
            for (_, value) in &mut open {
                value.push_str("ca.crt");
            }
            !open.is_empty()
        })
    }),
    ("annotation sslCertFile is honoured", |case, gain| {
        let Some(file) = case.annotations.get("cainjector.lestak.sh/sslCertFile") else { return false };
        each(gain, |_, env| {
            for (_, value) in env.iter_mut() {
                file.clone_into(value);
            }
            !env.is_empty()
        })
    }),
    ("a boolean counts under a key of any case in JSON", |case, gain| {
        let written =
            case.config == "json any case bool" && !case.annotations.keys().any(|key| key.ends_with("/setEnvVar"));
        each(gain, |_, env| written && drain(env, |_| true))
    }),
    ("a container's own SSL_CERT_FILE is kept", |case, gain| {
        let own = |name: &str| container(&case.pod, name)["env"].as_array().cloned().unwrap_or_default();
        let mut found = false;
        for (name, (_, env)) in &mut gain.containers {
            found |= drain(env, |(variable, _)| own(name).iter().any(|own| own["name"] == **variable));
        }
        found
    }),
    ("nothing is mounted above or below another mount, which would keep the container from starting", |case, gain| {
        let mut found = false;
        for (name, (mounts, env)) in &mut gain.containers {
            let Some((path, _)) = mounts.first() else { continue };
            let paths = list(&container(&case.pod, name)["volumeMounts"]).iter().map(|own| text(&own["mountPath"]));
            if paths.into_iter().any(|own| own == "/" || own.starts_with(&format!("{path}/"))) {
                mounts.clear();
                env.clear();
                found = true;
            }
        }
        found
    }),
    ("a volume that nothing mounts is not added", |case, gain| {
        let mounted = |name: &str| case.pod["spec"].to_string().contains(&format!(r#""name":"{name}""#));
        let idle = gain.containers.values().all(|(mounts, _)| mounts.is_empty());
        // Init containers are injected, too, and mount it.
        let idle = idle && list(&case.pod["spec"]["initContainers"]).is_empty();
        idle && drain(&mut gain.volumes, |(name, _)| !mounted(name))
    }),
    ("an invalid volume name becomes a valid one", |_, gain| {
        let mut found = false;
        for (name, _) in gain.volumes.iter_mut().filter(|(name, _)| !is_label(name)) {
            "valid".clone_into(name);
            found = true;
        }
        found
    }),
];

#[test]
fn pods_are_injected_as_by_cainjector_except_for_the_differences_listed() {
    let recorded = recorded();
    let mut applied = BTreeSet::new();
    for (config, pod, namespace, operator, response) in &recorded.rows {
        let row = format!("{config}, {pod}, {namespace}, {operator}");
        let case = case(config, &recorded.pods[pod], operator);
        let ours = verdict(&case, namespace, &recorded.configs[config].options().expect(&row));
        let mut theirs = match &recorded.responses[*response] {
            Response::Refused { refused, message } => {
                let (code, text) = ours.map(|_| "allowed").expect_err(&row);
                assert_eq!(code, *refused, "{row}");
                assert!(text.starts_with(message), "{row}: {text}");
                continue;
            }
            Response::Pod(after) => gain(&case.pod, &after.volumes, &after.containers),
            Response::Unchanged {} => Gain::default(),
        };
        let mut ours = ours.expect(&row);
        for (why, difference) in DIFFERENCES {
            if difference(&case, &mut theirs) {
                applied.insert(*why);
            }
        }
        for (name, _) in &mut ours.volumes {
            assert!(is_label(name), "{row}: {name}");
            if theirs.volumes.iter().any(|(name, _)| name == "valid") {
                "valid".clone_into(name);
            }
        }
        theirs.containers.retain(|_, (mounts, env)| !mounts.is_empty() || !env.is_empty());
        assert_eq!(ours, theirs, "{row}");
    }
    let dead: Vec<_> = DIFFERENCES.iter().map(|(why, _)| why).filter(|why| !applied.contains(*why)).collect();
    assert!(dead.is_empty(), "no row shows these differences: {dead:?}");
}

#[test]
fn a_configuration_is_an_error_exactly_where_cainjector_exits_because_of_it() {
    for (name, config) in &recorded().configs {
        assert_eq!(config.options().is_err(), config.refused, "{name}: {:?}", config.options());
    }
}

impl Config {
    fn options(&self) -> Result<CainjectorOptions, CainjectorOptionsError> {
        CainjectorOptions::parse(self.text.as_deref().unwrap_or_default())
    }
}

fn recorded() -> Recorded {
    serde_json::from_str(include_str!("cainjector/recorded.json")).unwrap()
}

/// A pod as it was sent to cainjector: all annotations but the `raw` ones are recorded without the operator's prefix.
fn case<'a>(config: &'a str, shape: &Value, operator: &str) -> Case<'a> {
    let (name, domain) = if operator.is_empty() { ("cainjector", "lestak.sh") } else { ("hello-world", "my-org.com") };
    let own = shape["annotations"].as_object().into_iter().flatten();
    let own = own.map(|(key, value)| (format!("{name}.{domain}/{key}"), value));
    let raw = shape["raw"].as_object().into_iter().flatten().map(|(key, value)| (key.clone(), value));
    let annotations: BTreeMap<_, _> =
        own.chain(raw).map(|(key, value)| (key, value.as_str().unwrap().to_owned())).collect();
    let mut pod = json!({ "metadata": { "annotations": annotations }, "spec": shape["spec"] });
    if let Some(metadata) = shape.get("metadata") {
        pod["metadata"] = metadata.clone();
    }
    let operator = Operator { name: name.to_owned(), domain: domain.to_owned() };
    Case { config, operator, pod, annotations }
}

/// The gain of the pod, or the code and message of its denial.
fn verdict(case: &Case<'_>, namespace: &str, options: &CainjectorOptions) -> Result<Gain, (u16, String)> {
    let text = case.pod.to_string();
    let review = PodReview { namespace, pod: &text, old: None };
    let policy = Policy::Cainjector { operator: &case.operator, options };
    let pod = review.parse().map_err(|error| (400, error.to_string()))?;
    let verdict = pod.inject(&policy);
    if let Some(Denial { code, message }) = verdict.denial {
        return Err((code, message));
    }
    let mut after = case.pod.clone();
    let patch: json_patch::Patch = serde_json::from_value(serde_json::to_value(&verdict.patch).unwrap()).unwrap();
    json_patch::patch(&mut after, &patch).unwrap();

    let volumes: Vec<_> = list(&after["spec"]["volumes"]).iter().map(volume).collect();
    let containers: Vec<_> = list(&after["spec"]["containers"]).iter().map(summary).collect();
    let mut gained = gain(&case.pod, &volumes, &containers);
    gained.containers.retain(|_, (mounts, env)| !mounts.is_empty() || !env.is_empty());
    for container in ["initContainers", "containers"].into_iter().flat_map(|field| list(&after["spec"][field])) {
        for mount in list(&container["volumeMounts"]) {
            let ours = gained.volumes.iter().any(|(name, _)| mount["name"] == **name);
            let own = case.pod["spec"].to_string().contains(&mount.to_string());
            assert!(!ours || own || mount["readOnly"] == true, "{mount}");
        }
    }
    // Init containers gain the same as the others; cainjector leaves them out.
    if let Some(some) = gained.containers.values().find(|(mounts, env)| !mounts.is_empty() && !env.is_empty()) {
        for init in list(&after["spec"]["initContainers"]) {
            let init = gain(&json!({}), &volumes, &[summary(init)]).containers.into_values().next().unwrap();
            assert_eq!(init, *some);
        }
    }
    Ok(gained)
}

/// The difference between a pod before and after a review.
fn gain(before: &Value, after: &[(String, String, String)], containers: &[(String, Pairs, Pairs)]) -> Gain {
    let text = |(name, kind, object): &(String, String, String)| (name.clone(), format!("{kind} {object}"));
    let sources: BTreeMap<_, _> = after.iter().map(text).collect();
    let volumes = after.iter().skip(list(&before["spec"]["volumes"]).len()).map(text).collect();
    let source = |volume: &String| sources.get(volume).cloned().unwrap_or_else(|| "missing".to_owned());
    let containers = containers.iter().map(|(name, mounts, env)| {
        let own = container(before, name);
        let mounts = mounts.iter().skip(list(&own["volumeMounts"]).len());
        let mounts = mounts.map(|(volume, path)| (path.clone(), source(volume))).collect();
        let env = env.iter().skip(list(&own["env"]).len()).cloned().collect();
        (name.clone(), (mounts, env))
    });
    Gain { volumes, containers: containers.collect() }
}

fn summary(container: &Value) -> (String, Pairs, Pairs) {
    let pairs = |items: &Value, first, second| {
        list(items).iter().map(|item| (text(&item[first]), text(&item[second]))).collect()
    };
    let mounts = pairs(&container["volumeMounts"], "name", "mountPath");
    (text(&container["name"]), mounts, pairs(&container["env"], "name", "value"))
}

fn volume(volume: &Value) -> (String, String, String) {
    let name = text(&volume["name"]);
    match (&volume["configMap"]["name"], &volume["secret"]["secretName"]) {
        (Value::String(object), _) => (name, "configMap".to_owned(), object.clone()),
        (_, Value::String(object)) => (name, "secret".to_owned(), object.clone()),
        _ => (name, "other".to_owned(), String::new()),
    }
}

/// The volumes of a pod by name.
fn volumes(pod: &Value) -> BTreeMap<String, String> {
    list(&pod["spec"]["volumes"])
        .iter()
        .map(volume)
        .map(|(name, kind, object)| (name, format!("{kind} {object}")))
        .collect()
}

fn container<'a>(pod: &'a Value, name: &str) -> &'a Value {
    list(&pod["spec"]["containers"]).iter().find(|container| container["name"] == name).unwrap_or(&Value::Null)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn mounts(gain: &Gain) -> impl Iterator<Item = &(String, String)> {
    gain.containers.values().flat_map(|(mounts, _)| mounts)
}

/// Clears the gain if the condition holds; `true` if the gain was not empty.
fn clear(gain: &mut Gain, condition: impl Fn(&Gain) -> bool) -> bool {
    let applies = condition(gain) && *gain != Gain::default();
    if applies {
        *gain = Gain::default();
    }
    applies
}

/// Changes the mounts and variables of every container; `true` if that changed anything.
fn each(gain: &mut Gain, mut change: impl FnMut(&mut Pairs, &mut Pairs) -> bool) -> bool {
    gain.containers.values_mut().fold(false, |found, (mounts, env)| change(mounts, env) || found)
}

/// Removes the pairs that match; `true` if there were any.
fn drain(pairs: &mut Pairs, matches: impl Fn(&(String, String)) -> bool) -> bool {
    let before = pairs.len();
    pairs.retain(|pair| !matches(pair));
    pairs.len() < before
}

/// Whether a name is an RFC 1123 label, as names of volumes have to be.
fn is_label(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&name.len()) && name.chars().all(inner) && !name.starts_with('-') && !name.ends_with('-')
}
