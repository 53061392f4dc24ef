//! The options that begin something, or change where the next lines go: `listener`, `connection`,
//! the plugins, `per_listener_settings`.
//!
//! They are apart from the table because each changes the draft as a whole and not one field.

use super::bridge::Bridge;
use super::draft::{Draft, ListenerDraft, Owner, PluginDraft};
use super::listener::Bind;
use super::options::Section;
use super::parse::Place;
use super::problem::Problem;
use super::value::{self, Invalid, Note, Rule, STRING_BYTES_MAX, Value};

/// Bytes of a Unix socket's path at most: what fits `sockaddr_un` with its closing zero.
const UNIX_PATH_BYTES_MAX: usize = 107;

impl Draft {
    /// Takes the option `section`, written as `name`.
    pub(super) fn section(
        &mut self,
        section: Section,
        name: &str,
        value: &mut Value<'_>,
        place: &Place,
    ) -> Result<(), Problem> {
        let done = match section {
            Section::Listener => self.begin_listener(value, place),
            Section::Port => self.port(value),
            Section::BindAddress => self.bind_address(value),
            Section::Connection => return self.connection(name, value, place),
            Section::Plugin => self.plugin(value, place),
            Section::GlobalPlugin => self.global_plugin(value, place),
            Section::PluginLoad => self.plugin_load(value, place),
            Section::PluginUse => self.plugin_use(value),
            Section::PluginOption => self.plugin_option(name, value, place),
            Section::DenySpecialChars => self.deny_special_chars(value),
            Section::PerListenerSettings => self.per_listener_settings(value),
            // The loader reads the directory; it never comes here.
            Section::IncludeDir => Ok(()),
        };
        done.map_err(|invalid| Problem::Value {
            name: name.to_owned(),
            invalid,
            first: None,
        })
    }

    /// `listener PORT [ADDRESS]`, or `listener 0 PATH`.
    fn begin_listener(&mut self, value: &mut Value<'_>, place: &Place) -> Result<(), Invalid> {
        let port = value::in_range(value.number()?, 0, 65_535)?;
        let port = u16::try_from(port).unwrap_or_default();
        let bind = if port == 0 {
            let path = value.text_before_comment(UNIX_PATH_BYTES_MAX)?;
            Bind::Unix(path.ok_or(Invalid::Rule(Rule::UnixPathMissing))?)
        } else {
            // Like the C library, which stops reading an address at the first blank.
            let host = value.text_word()?;
            value.end();
            host.map_or(Bind::Any, Bind::Address)
        };
        self.current.listener = Some(self.listeners.len());
        self.listeners.push(ListenerDraft::begin(bind, port, place));
        Ok(())
    }

    fn port(&mut self, value: &mut Value<'_>) -> Result<(), Invalid> {
        let port = value.int(1, 65_535)?;
        if self.place(Owner::Broker, "port").is_some() {
            value.note(Note::Replaces);
        }
        self.default_listener.listener.port = u16::try_from(port).unwrap_or_default();
        self.default_is_asked = true;
        Ok(())
    }

    fn bind_address(&mut self, value: &mut Value<'_>) -> Result<(), Invalid> {
        let host = value.text_word()?.ok_or(Invalid::Empty)?;
        value.end();
        if self.place(Owner::Broker, "bind_address").is_some() {
            value.note(Note::Replaces);
        }
        self.default_listener.listener.bind = Bind::Address(host);
        self.default_is_asked = true;
        Ok(())
    }

    fn connection(
        &mut self,
        option: &str,
        value: &mut Value<'_>,
        place: &Place,
    ) -> Result<(), Problem> {
        let name = value
            .text(STRING_BYTES_MAX)
            .map_err(|invalid| Problem::Value {
                name: option.to_owned(),
                invalid,
                first: None,
            })?;
        let same = self.bridges.iter().find(|(bridge, _)| bridge.name == name);
        let twice = same.map(|(_, first)| Problem::BridgeTwice {
            name: name.clone(),
            first: first.clone(),
        });
        // It becomes the current one all the same, so that its options are not laid at the door of
        // the one before it.
        self.current.bridge = Some(self.bridges.len());
        self.bridges.push((Bridge::new(name), place.clone()));
        twice.map_or(Ok(()), Err)
    }

    /// `plugin PATH`: of the current listener, or of all.
    fn plugin(&mut self, value: &mut Value<'_>, place: &Place) -> Result<(), Invalid> {
        let path = value.text(STRING_BYTES_MAX)?;
        let at = self.begin_plugin(None, path, place);
        self.security_is_settled = true;
        if !self.config.per_listener_settings {
            self.global_plugins.push(at);
            return Ok(());
        }
        let owner = self
            .current
            .listener
            .map_or(Owner::DefaultListener, Owner::Listener);
        if let Some(listener) = self.listener(owner) {
            listener.plugins.push(at);
        }
        Ok(())
    }

    fn global_plugin(&mut self, value: &mut Value<'_>, place: &Place) -> Result<(), Invalid> {
        let path = value.text(STRING_BYTES_MAX)?;
        let at = self.begin_plugin(None, path, place);
        self.global_plugins.push(at);
        Ok(())
    }

    /// `plugin_load NAME PATH`.
    fn plugin_load(&mut self, value: &mut Value<'_>, place: &Place) -> Result<(), Invalid> {
        let name = value.text_word()?.ok_or(Invalid::Empty)?;
        let path = value.text(STRING_BYTES_MAX)?;
        if self.plugin_named(&name).is_some() {
            return Err(Invalid::Rule(Rule::PluginNameTaken));
        }
        self.begin_plugin(Some(name), path, place);
        Ok(())
    }

    /// `plugin_use NAME`.
    fn plugin_use(&mut self, value: &mut Value<'_>) -> Result<(), Invalid> {
        let name = value.needed()?;
        value.end();
        let at = self.plugin_named(&name);
        let at = at.ok_or(Invalid::Rule(Rule::PluginNameUnknown))?;
        let current = self.current.listener.map(Owner::Listener);
        match current.and_then(|owner| self.listener(owner)) {
            Some(listener) => listener.plugins.push(at),
            None => return Err(Invalid::Rule(Rule::ListenerMissing)),
        }
        Ok(())
    }

    fn plugin_named(&self, name: &str) -> Option<usize> {
        let is_it = |plugin: &PluginDraft| plugin.name.as_deref() == Some(name);
        self.plugins.iter().position(is_it)
    }

    /// The new plugin's place among all; the next plugin options are its own.
    fn begin_plugin(&mut self, name: Option<String>, path: String, place: &Place) -> usize {
        let at = self.plugins.len();
        self.plugins.push(PluginDraft {
            place: place.clone(),
            name,
            path,
            options: Vec::new(),
            deny_special_chars: true,
        });
        self.current.plugin = Some(at);
        at
    }

    /// `plugin_opt_KEY VALUE`.
    fn plugin_option(
        &mut self,
        name: &str,
        value: &mut Value<'_>,
        place: &Place,
    ) -> Result<(), Invalid> {
        let key = name
            .strip_prefix("plugin_opt_")
            .or_else(|| name.strip_prefix("auth_opt_"))
            .filter(|key| !key.is_empty())
            .ok_or(Invalid::Rule(Rule::PluginOption))?;
        let text = match value.text(STRING_BYTES_MAX) {
            Err(Invalid::Empty) => return Err(Invalid::Rule(Rule::PluginOption)),
            text => text?,
        };
        match self.current_plugin() {
            Some(plugin) => {
                let option = (key.to_owned(), text, place.clone());
                plugin.options.push(option);
                Ok(())
            }
            None => Err(Invalid::Rule(Rule::PluginMissing)),
        }
    }

    fn deny_special_chars(&mut self, value: &mut Value<'_>) -> Result<(), Invalid> {
        let deny = value.bool()?;
        match self.current_plugin() {
            Some(plugin) => {
                plugin.deny_special_chars = deny;
                Ok(())
            }
            None => Err(Invalid::Rule(Rule::PluginMissing)),
        }
    }

    fn current_plugin(&mut self) -> Option<&mut PluginDraft> {
        let at = self.current.plugin?;
        self.plugins.get_mut(at)
    }

    /// Whose security options are is settled before the first of them.
    fn per_listener_settings(&mut self, value: &mut Value<'_>) -> Result<(), Invalid> {
        let wanted = value.bool()?;
        // Choice: mosquitto lets `false` follow late, too, and then forgets what was said for a
        // listener; a forgotten password_file is worse than a refused line.
        if wanted != self.config.per_listener_settings && self.security_is_settled {
            return Err(Invalid::Rule(Rule::TooLate));
        }
        self.config.per_listener_settings = wanted;
        Ok(())
    }
}
