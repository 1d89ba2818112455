//! The settings of the running controller: its arguments, overridden by flags of the user.

use std::ffi::OsString;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, FromArgMatches};

use super::super::args::DecisionArgs;
use super::super::controller;
use crate::client::ContainerCommand;

/// Flags that shape decisions, as far as they were typed: the others are the running controller's.
#[derive(Clone, Debug)]
pub(in crate::cli) struct ExplicitDecisionArgs(Vec<OsString>);

/// The settings of a controller.
pub(super) struct ControllerSettings {
    /// The controller's arguments.
    pub(super) arguments: DecisionArgs,
    /// What the arguments are known from, for messages.
    pub(super) origin: String,
}

impl FromArgMatches for ExplicitDecisionArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let known = DecisionArgs::augment_args(Command::new("settings"));
        let typed = known.get_arguments().filter_map(|argument| {
            let id = argument.get_id().as_str();
            (matches.value_source(id) == Some(ValueSource::CommandLine)).then_some(())?;
            let values: Vec<_> = matches.get_raw(id)?.map(OsString::from).collect();
            let mut flag = OsString::from(format!("--{}=", argument.get_long()?));
            flag.push(values.join(",".as_ref()));
            Some(flag)
        });
        Ok(Self(typed.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for ExplicitDecisionArgs {
    fn augment_args(command: Command) -> Command {
        let known = DecisionArgs::augment_args(Command::new("settings"));
        let flags = known.get_arguments().map(|argument| {
            argument
                .clone()
                .default_value(None)
                .hide_default_value(true)
                .help_heading("Settings (default: those of the running controller)")
        });
        command.args(flags)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl ControllerSettings {
    /// Finds the controller among the containers of a namespace: that of the Lease's holder, or else any.
    pub(super) fn find(
        programs: &[ContainerCommand],
        holder: Option<&str>,
        namespace: &str,
        explicit: &ExplicitDecisionArgs,
    ) -> Self {
        // The identity is the host name, which is the Pod's name, and a random UUID: see `pod::identity`.
        let pod = holder.map(|holder| holder.split_once('_').map_or(holder, |(pod, _)| pod));
        let mut controllers: Vec<_> =
            programs.iter().filter_map(|program| Some((program, parse(&program.arguments, explicit)?))).collect();
        controllers.sort_by_key(|(program, _)| Some(&*program.pod) != pod);
        match controllers.into_iter().next() {
            Some((program, arguments)) => {
                Self { arguments, origin: format!("those of Pod {namespace}/{}", program.pod) }
            }
            None => Self::assumed(explicit, &format!("no Pod of a controller is in namespace {namespace}")),
        }
    }

    /// Returns the defaults with the flags of the user, for a cluster without a controller.
    pub(super) fn assumed(explicit: &ExplicitDecisionArgs, why: &str) -> Self {
        let arguments = parse(&["controller".to_owned()], explicit).expect("the flags were parsed before");
        let origin = if explicit.0.is_empty() { "the defaults" } else { "the defaults and the given flags" };
        Self { arguments, origin: format!("{origin}, since {why}; if the controller has others, give its flags") }
    }
}

/// Parses the arguments of a container; `None` if it is no controller. trust-manager's image takes no command, but its
/// chart always names the trust namespace.
fn parse(arguments: &[String], ExplicitDecisionArgs(explicit): &ExplicitDecisionArgs) -> Option<DecisionArgs> {
    let marks = ["controller", "--trust-namespace"];
    if !arguments.iter().any(|argument| marks.iter().any(|mark| argument.starts_with(mark))) {
        return None;
    }
    // Left out, since a list that is given twice is joined to one.
    let flag = |argument: &[u8]| argument.split_inclusive(|octet| *octet == b'=').next().map(<[u8]>::to_vec);
    let is_typed =
        |argument: &&String| explicit.iter().any(|typed| flag(typed.as_encoded_bytes()) == flag(argument.as_bytes()));
    let flags = arguments.strip_prefix(&["controller".to_owned()]).unwrap_or(arguments);
    let others = flags.iter().filter(|argument| !is_typed(argument)).map(OsString::from);
    let all = std::iter::once("controller".into()).chain(others).chain(explicit.clone());
    let command = controller::Args::augment_args(Command::new("controller").args_override_self(true));
    let matches = command.try_get_matches_from(all).ok()?;
    Some(controller::Args::from_arg_matches(&matches).ok()?.decision)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        explicit: ExplicitDecisionArgs,
    }

    fn found(programs: &[(&str, &[&str])], holder: Option<&str>, typed: &[&str]) -> (DecisionArgs, String) {
        let programs: Vec<_> = programs
            .iter()
            .map(|(pod, arguments)| ContainerCommand {
                pod: (*pod).to_owned(),
                arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            })
            .collect();
        let Line { explicit } = Line::try_parse_from(["line"].iter().chain(typed)).expect("flags");
        let ControllerSettings { arguments, origin } = ControllerSettings::find(&programs, holder, "here", &explicit);
        (arguments, origin)
    }

    #[test]
    fn settings_are_those_of_the_leaders_pod_and_explicit_flags_win() {
        let ours: &[&str] =
            &["controller", "--trust-namespace=trust", "--secret-targets-enabled=true", "--target-namespaces=a,b"];
        let theirs: &[&str] = &["--trust-namespace=other", "--leader-elect=true", "--filter-expired-certificates=true"];
        let strange: &[&str] = &["--cluster-resource-namespace=x", "--trust-namespace=y"];
        let pods = [("strange-1", strange), ("sidecar-2", &[] as &[&str]), ("theirs-3", theirs), ("ours-4", ours)];

        let (settings, from) = found(&pods, Some("ours-4_random"), &[]);
        assert_eq!((&*settings.trust_namespace, &*from), ("trust", "those of Pod here/ours-4"));
        assert!(settings.secret_targets_enabled && !settings.filter_expired_certificates);

        let (settings, _) =
            found(&pods, Some("ours-4_random"), &["--target-namespaces=c", "--secret-targets-enabled=false"]);
        assert_eq!((settings.target_namespaces, settings.secret_targets_enabled), (vec!["c".to_owned()], false));

        let (settings, from) = found(&pods, None, &["--filter-non-ca-certs"]);
        assert_eq!((&*settings.trust_namespace, &*from), ("other", "those of Pod here/theirs-3"));
        assert!(settings.filter_expired_certificates && settings.filter_non_ca_certs);

        let (settings, from) = found(&pods[..2], None, &["--trust-namespace=mine"]);
        assert_eq!(settings.trust_namespace, "mine");
        assert!(from.starts_with("the defaults and the given flags, since no Pod of a controller"), "{from}");
    }
}
