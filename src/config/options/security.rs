//! Options that say who may do what: for the whole broker, or for one listener; and plugins, which
//! are mosquitto's other way to say it.

use super::super::draft::SecurityDraft;
use super::{Again, Kind, Opt, Reload, Scope, Section, Target, section, text_last};

const SECURITY_PLUGIN: &str = "mosquitto's own mosquitto_password_file.so and \
                               mosquitto_acl_file.so are built in; any other that decides who may \
                               do what keeps midge from starting";

const fn security(
    name: &'static str,
    default: &'static str,
    kind: Kind<SecurityDraft>,
    doc: &'static str,
) -> Opt {
    Opt::new(name, default, Target::Security(kind), Reload::Now, doc)
}

/// In the order of the alphabet.
pub(super) const ROWS: &[Opt] = &[
    security(
        "acl_file",
        "none",
        text_last(|s| &mut s.acl_file),
        "Reads from this file who may publish to, and receive from, which topics.",
    )
    .note("deprecated in mosquitto 2.1"),
    security(
        "allow_anonymous",
        "false",
        Kind::OptBool(|s| &mut s.allow_anonymous),
        "Lets in clients that give no username. Without any listener in the file \
             the default is true, and only this machine is served.",
    )
    .at(Reload::NewConnections),
    security(
        "allow_zero_length_clientid",
        "true",
        Kind::OptBool(|s| &mut s.allow_zero_length_clientid),
        "Lets a client leave its Client Identifier to the broker.",
    )
    .at(Reload::NewConnections),
    section(
        "auth_opt_*",
        Scope::Plugin,
        Section::PluginOption,
        "KEY VALUE",
        "Sets the option KEY of the plugin named last.",
    )
    .note(SECURITY_PLUGIN),
    section(
        "auth_plugin",
        Scope::Plugin,
        Section::Plugin,
        "PATH",
        "Asks a plugin who may do what; the older name of plugin.",
    )
    .note(SECURITY_PLUGIN),
    Opt {
        default: "true",
        ..section(
            "auth_plugin_deny_special_chars",
            Scope::Plugin,
            Section::DenySpecialChars,
            "true or false",
            "Denies everything to a client whose username or Client Identifier holds \
             +, # or /, before the plugin named last is asked.",
        )
    },
    security(
        "auto_id_prefix",
        "auto-",
        Kind::Text(Again::Duplicate, 50, |s| &mut s.auto_id_prefix),
        "What Client Identifiers begin with that the broker assigns.",
    )
    .at(Reload::NewConnections)
    .note("deprecated in mosquitto 2.1: see listener_auto_id_prefix"),
    section(
        "global_plugin",
        Scope::Plugin,
        Section::GlobalPlugin,
        "PATH",
        "Asks a plugin, for all listeners and before those of a listener.",
    )
    .note(SECURITY_PLUGIN),
    security(
        "password_file",
        "none",
        text_last(|s| &mut s.password_file),
        "Reads from this file which users there are, and what their passwords \
             must hash to.",
    )
    .note("deprecated in mosquitto 2.1"),
    Opt {
        default: "false",
        ..section(
            "per_listener_settings",
            Scope::Global,
            Section::PerListenerSettings,
            "true or false",
            "Gives each listener the security options that stand below it, and only \
             those. It must stand before the first of them.",
        )
    }
    .note("deprecated in mosquitto 2.1"),
    section(
        "plugin",
        Scope::Plugin,
        Section::Plugin,
        "PATH",
        "Asks a plugin who may do what.",
    )
    .note(SECURITY_PLUGIN),
    section(
        "plugin_load",
        Scope::Plugin,
        Section::PluginLoad,
        "NAME PATH",
        "Names a plugin, for plugin_use.",
    )
    .note("since mosquitto 2.1"),
    section(
        "plugin_opt_*",
        Scope::Plugin,
        Section::PluginOption,
        "KEY VALUE",
        "Sets the option KEY of the plugin named last.",
    )
    .note(SECURITY_PLUGIN),
    section(
        "plugin_use",
        Scope::Listener,
        Section::PluginUse,
        "NAME",
        "Asks the plugin that plugin_load gave this name, on this listener.",
    )
    .note("since mosquitto 2.1"),
    security(
        "psk_file",
        "none",
        text_last(|s| &mut s.psk_file),
        "Reads from this file the identities and keys for TLS-PSK.",
    )
    .refuses(
        "TLS-PSK is not supported, so that clients could not be held to their keys; \
             certificates are, which boards can check just as well",
    ),
];
