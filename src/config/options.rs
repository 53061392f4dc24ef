//! The table of options: one row a name, and everything about it in the row.
//!
//! Its name, where it may stand, its type and default, what a reload does with it, what midge does
//! with it at all, what it means, and where its value goes. The loader, the reload report, the
//! README's table and the manual page are all driven by these rows; nothing else knows a name.
//! Change a row, and change its meaning in the same breath.

mod bridge;
mod global;
mod listener;
mod security;

use super::bridge::{Bridge, Secret};
use super::draft::SecurityDraft;
pub use super::render::{render_page, render_table};
use super::value::{Invalid, Note, STRING_BYTES_MAX, Value};
use super::{Config, Listener};

/// One option.
#[derive(Debug)]
pub struct Opt {
    /// As written in a file; a name that ends in `*` stands for all that begin so.
    pub name: &'static str,
    /// What holds where the file says nothing, as a file would say it.
    pub default: &'static str,
    /// What a reload does with a changed value.
    pub reload: Reload,
    /// What midge does with it.
    pub support: Support,
    /// Since when mosquitto has it, or has it no more, and what else sets it apart.
    pub note: &'static str,
    /// What it means: whole sentences.
    pub doc: &'static str,
    /// Whether it stands only below a `listener` line, never for the default listener.
    pub(super) is_explicit: bool,
    target: Target,
}

/// Where an option may stand, and what it applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The whole broker.
    Global,
    /// The whole broker, or one listener with `per_listener_settings true`.
    Security,
    /// The listener begun before it.
    Listener,
    /// The bridge begun before it.
    Bridge,
    /// The plugin named before it.
    Plugin,
}

/// What a reload does with a changed value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// It holds at once.
    Now,
    /// It holds for connections made from then on.
    NewConnections,
    /// Its bridge hangs up and connects again, now or later.
    Reconnects,
    /// It waits for a restart.
    Restart,
}

/// What midge does with an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// What its row says.
    Works,
    /// What it asks for, and more, whatever its value: these words say how.
    Replaced(&'static str),
    /// Nothing, and a warning says what is not in effect.
    Warns(&'static str),
    /// It does not start, since it would be less safe than the file asks for; this is why.
    Refuses(&'static str),
}

/// Where a value goes, and with it the type it has.
#[derive(Debug)]
pub(super) enum Target {
    /// Into the broker's own settings.
    Global(Kind<Config>),
    /// Into the security settings of the broker, or of the listener begun before it.
    Security(Kind<SecurityDraft>),
    /// Into the security settings of the listener begun before it, always.
    Override(Kind<SecurityDraft>),
    /// Into the listener begun before it.
    Listener(Kind<Listener>),
    /// Into the bridge begun before it.
    Bridge(Kind<Bridge>),
    /// It begins something, or changes where the next lines go: see `draft.rs`.
    Section(Scope, Section, &'static str),
    /// Nowhere.
    Ignored(Scope),
    /// Where the option of this name goes.
    Alias(&'static str),
}

/// The options that begin something, or change where the next lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Listener,
    Port,
    BindAddress,
    Connection,
    Plugin,
    GlobalPlugin,
    PluginLoad,
    PluginUse,
    PluginOption,
    DenySpecialChars,
    PerListenerSettings,
    IncludeDir,
}

/// The type of a value, and the field of a `T` it goes to.
#[derive(Debug)]
pub(super) enum Kind<T: 'static> {
    Bool(fn(&mut T) -> &mut bool),
    OptBool(fn(&mut T) -> &mut Option<bool>),
    U16(Range, fn(&mut T) -> &mut u16),
    OptU16(Range, fn(&mut T) -> &mut Option<u16>),
    U32(Range, fn(&mut T) -> &mut u32),
    U64(Range, fn(&mut T) -> &mut u64),
    /// Any number; zero and below stand for no bound, written -1.
    Count(fn(&mut T) -> &mut u32),
    Text(Again, usize, fn(&mut T) -> &mut Option<String>),
    Secret(fn(&mut T) -> &mut Option<Secret>),
    /// What only one option has: its shape in words, how it is set, how it is shown.
    Own(&'static str, Set<T>, fn(&T) -> String),
    /// The same, not to be shown.
    OwnSecret(&'static str, Set<T>, fn(&mut T) -> &mut Option<Secret>),
}

type Set<T> = fn(&mut T, &mut Value<'_>) -> Result<(), Invalid>;

/// The numbers an option takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    min: i64,
    max: i64,
    below: Below,
    unit: &'static str,
}

/// What becomes of a number below the range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Below {
    /// It is refused.
    Refused,
    /// It counts as the smallest one, with a note.
    Moved,
}

/// What becomes of a string given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// It is refused.
    Duplicate,
    /// The last one holds.
    LastWins,
    /// The last one holds, and a warning names both.
    LastWinsWithNote,
}

/// Every option, in the order of the manual page.
pub fn all() -> impl Iterator<Item = &'static Opt> {
    global::ROWS
        .iter()
        .chain(security::ROWS)
        .chain(listener::ROWS)
        .chain(bridge::ROWS)
}

/// The option that `name` means, also where the row stands for all that begin so.
pub fn find(name: &str) -> Option<&'static Opt> {
    all().find(|option| match option.name.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => option.name == name,
    })
}

/// The known name that is nearest to `name`, if any is near.
pub fn nearest(name: &str) -> Option<&'static str> {
    let allowed = 1 + name.len() / 4;
    let near = all().map(|option| {
        let known = option.name.trim_end_matches('*');
        (distance(name, known), option.name)
    });
    let best = near.min_by_key(|(distance, _)| *distance)?;
    (best.0 <= allowed).then_some(best.1)
}

/// Why a name that people write, and that never existed, is none.
pub fn never_existed(name: &str) -> Option<&'static str> {
    let rows = [
        (
            "keepalive",
            "each client chooses its own Keep Alive; max_keepalive bounds it, and a bridge has \
             keepalive_interval",
        ),
        (
            "max_retained_messages",
            "no mosquitto bounds the number of retained messages; memory_limit bounds all that is \
             kept",
        ),
        (
            "persistence_interval",
            "the time between two saves is autosave_interval",
        ),
        (
            "bind_port",
            "a listener is written `listener PORT [ADDRESS]`",
        ),
        ("log_file", "a log file is written `log_dest file PATH`"),
        (
            "websocket",
            "a listener speaks WebSockets with `protocol websockets` below it",
        ),
    ];
    rows.iter().find(|row| row.0 == name).map(|row| row.1)
}

/// How many single letters must be changed, put in or taken out (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    // One row of the usual table; a name is short, and a line that is not is not near any.
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (at, left) in left.chars().take(64).enumerate() {
        let mut diagonal = at;
        let mut before = at + 1;
        for (cell, right) in row.iter_mut().skip(1).zip(&right) {
            let changed = diagonal + usize::from(left != *right);
            diagonal = *cell;
            *cell = changed.min(before + 1).min(*cell + 1);
            before = *cell;
        }
        if let Some(first) = row.first_mut() {
            *first = at + 1;
        }
    }
    row.last().copied().unwrap_or(usize::MAX)
}

impl Opt {
    /// Where it may stand, and what it applies to.
    pub fn scope(&self) -> Scope {
        match &self.target {
            Target::Global(_) => Scope::Global,
            Target::Security(_) => Scope::Security,
            Target::Override(_) | Target::Listener(_) => Scope::Listener,
            Target::Bridge(_) => Scope::Bridge,
            Target::Section(scope, _, _) | Target::Ignored(scope) => *scope,
            Target::Alias(name) => find(name).map_or(Scope::Global, Self::scope),
        }
    }

    /// What its value looks like, in words.
    pub fn shape(&self) -> String {
        match &self.target {
            Target::Global(kind) => kind.shape(),
            Target::Security(kind) | Target::Override(kind) => kind.shape(),
            Target::Listener(kind) => kind.shape(),
            Target::Bridge(kind) => kind.shape(),
            Target::Section(_, _, shape) => (*shape).to_owned(),
            Target::Ignored(_) => String::from("anything"),
            Target::Alias(name) => find(name).map_or_else(String::new, Self::shape),
        }
    }

    /// The option it is another name of.
    pub fn alias_of(&self) -> Option<&'static str> {
        match self.target {
            Target::Alias(name) => Some(name),
            _ => None,
        }
    }

    /// The option itself, where this is another name of it.
    pub fn itself(&'static self) -> &'static Self {
        self.alias_of().and_then(find).unwrap_or(self)
    }

    /// Whether what stands behind it, written as `name`, must never be shown. A plugin's options
    /// may hold anything, passwords of databases among it; only the built-in ones' are known.
    pub fn is_secret(&self, name: &str) -> bool {
        match &self.target {
            Target::Bridge(Kind::Secret(_) | Kind::OwnSecret(..)) => true,
            Target::Section(_, Section::PluginOption, _) => ![
                "password_file",
                "acl_file",
                "sync",
                "flush_period",
                "page_size",
                "db_file",
            ]
            .iter()
            .any(|key| name.ends_with(&format!("_opt_{key}"))),
            Target::Alias(of) => find(of).is_some_and(|option| option.is_secret(name)),
            _ => false,
        }
    }

    /// Whether a line with it adds to those before, and does not replace them.
    pub fn is_repeatable(&self) -> bool {
        match &self.target {
            Target::Section(_, section, _) => !matches!(
                section,
                Section::Port | Section::BindAddress | Section::PerListenerSettings
            ),
            Target::Bridge(_) => matches!(self.name, "address" | "topic"),
            Target::Ignored(_) => true,
            Target::Alias(of) => find(of).is_some_and(Self::is_repeatable),
            _ => self.shape().ends_with("may be repeated"),
        }
    }

    /// Whether it names a directory of more lines, which the loader reads.
    pub(super) const fn is_include_dir(&self) -> bool {
        matches!(self.target, Target::Section(_, Section::IncludeDir, _))
    }

    /// Whether a reload applies it without a restart.
    pub fn is_reloadable(&self) -> bool {
        self.reload != Reload::Restart
    }

    /// The value in force, as a file would say it; `listener` and `bridge` for the options of
    /// those. `None`: it has none, as what begins a section has none, or its listener or bridge was
    /// not given.
    pub fn in_force(
        &self,
        config: &Config,
        listener: Option<&Listener>,
        bridge: Option<&Bridge>,
    ) -> Option<String> {
        match &self.target {
            Target::Global(kind) => Some(kind.show(config, self.default)),
            Target::Security(kind) | Target::Override(kind) => {
                let security = SecurityDraft::from(&listener?.security);
                Some(kind.show(&security, self.default))
            }
            Target::Listener(kind) => Some(kind.show(listener?, self.default)),
            Target::Bridge(kind) => Some(kind.show(bridge?, self.default)),
            Target::Section(_, Section::PerListenerSettings, _) => {
                Some(config.per_listener_settings.to_string())
            }
            Target::Alias(name) => find(name)?.in_force(config, listener, bridge),
            Target::Section(..) | Target::Ignored(_) => None,
        }
    }

    /// Whether it means nothing any more, here or anywhere.
    pub const fn is_ignored(&self) -> bool {
        matches!(self.target, Target::Ignored(_))
    }

    pub(super) const fn target(&self) -> &Target {
        &self.target
    }

    const fn new(
        name: &'static str,
        default: &'static str,
        target: Target,
        reload: Reload,
        doc: &'static str,
    ) -> Self {
        Self {
            name,
            default,
            reload,
            support: Support::Works,
            note: "",
            doc,
            is_explicit: false,
            target,
        }
    }

    /// A row whose option stands only below a `listener` line.
    const fn explicit(mut self) -> Self {
        self.is_explicit = true;
        self
    }

    /// A row that says something else about reloads.
    const fn at(mut self, reload: Reload) -> Self {
        self.reload = reload;
        self
    }

    /// A row whose option is not in effect.
    const fn warns(mut self, what: &'static str) -> Self {
        self.support = Support::Warns(what);
        self
    }

    /// A row whose option asks for what happens anyway.
    const fn replaced(mut self, how: &'static str) -> Self {
        self.support = Support::Replaced(how);
        self
    }

    /// A row whose option keeps midge from starting.
    const fn refuses(mut self, why: &'static str) -> Self {
        self.support = Support::Refuses(why);
        self
    }

    /// A row whose option is in effect in some builds alone.
    const fn supported(mut self, support: Support) -> Self {
        self.support = support;
        self
    }

    /// A row with a note.
    const fn note(mut self, note: &'static str) -> Self {
        self.note = note;
        self
    }
}

/// A row of another name for an option.
const fn alias(name: &'static str, of: &'static str, doc: &'static str) -> Opt {
    Opt::new(name, "", Target::Alias(of), Reload::Now, doc)
}

/// A row of an option that does nothing.
const fn ignored(name: &'static str, scope: Scope, doc: &'static str, warns: &'static str) -> Opt {
    Opt::new(name, "", Target::Ignored(scope), Reload::Now, doc).warns(warns)
}

/// A row of an option that begins something.
const fn section(
    name: &'static str,
    scope: Scope,
    section: Section,
    shape: &'static str,
    doc: &'static str,
) -> Opt {
    let target = Target::Section(scope, section, shape);
    Opt::new(name, "none", target, Reload::Now, doc)
}

/// Numbers from `min` to `max`.
const fn range(min: i64, max: i64, unit: &'static str) -> Range {
    Range {
        min,
        max,
        below: Below::Refused,
        unit,
    }
}

/// Numbers from `min` to `max`; one below counts as `min`.
const fn range_moved(min: i64, max: i64, unit: &'static str) -> Range {
    Range {
        min,
        max,
        below: Below::Moved,
        unit,
    }
}

/// A string that may stand once.
const fn text<T>(field: fn(&mut T) -> &mut Option<String>) -> Kind<T> {
    Kind::Text(Again::Duplicate, STRING_BYTES_MAX, field)
}

/// A string whose last one holds.
const fn text_last<T>(field: fn(&mut T) -> &mut Option<String>) -> Kind<T> {
    Kind::Text(Again::LastWins, STRING_BYTES_MAX, field)
}

impl Range {
    fn read(self, value: &mut Value<'_>) -> Result<i64, Invalid> {
        match self.below {
            Below::Refused => value.int(self.min, self.max),
            Below::Moved => value.int_at_least(self.min, self.max),
        }
    }

    fn shape(self) -> String {
        let Self { min, max, unit, .. } = self;
        let max = match max {
            i64::MAX => String::new(),
            max => format!(" to {max}"),
        };
        let unit = if unit.is_empty() {
            String::new()
        } else {
            format!(" {unit}")
        };
        if max.is_empty() {
            format!("{min} or more{unit}")
        } else {
            format!("{min}{max}{unit}")
        }
    }
}

impl<T: Clone> Kind<T> {
    /// Reads `value` into its field of `target`.
    pub(super) fn set(&self, target: &mut T, value: &mut Value<'_>) -> Result<(), Invalid> {
        match self {
            Self::Bool(field) => *field(target) = value.bool()?,
            Self::OptBool(field) => *field(target) = Some(value.bool()?),
            // The ranges of the table lie within their fields' types, so that nothing is cut.
            Self::U16(range, field) => *field(target) = cut(range.read(value)?),
            Self::OptU16(range, field) => *field(target) = Some(cut(range.read(value)?)),
            Self::U32(range, field) => *field(target) = cut(range.read(value)?),
            Self::U64(range, field) => *field(target) = cut(range.read(value)?),
            Self::Count(field) => {
                *field(target) = cut(value.int(i64::from(i32::MIN), COUNT_MAX)?.max(0));
            }
            Self::Text(again, bytes_max, field) => {
                let field = field(target);
                match again {
                    Again::Duplicate if field.is_some() => return Err(Invalid::Duplicate),
                    Again::LastWinsWithNote if field.is_some() => value.note(Note::Replaces),
                    _ => {}
                }
                *field = Some(value.text(*bytes_max)?);
            }
            Self::Secret(field) => {
                let field = field(target);
                if field.is_some() {
                    return Err(Invalid::Duplicate);
                }
                *field = Some(Secret::new(value.text(STRING_BYTES_MAX)?));
            }
            Self::Own(_, set, _) | Self::OwnSecret(_, set, _) => set(target, value)?,
        }
        Ok(())
    }

    /// The value that `target` has, as a file would say it; `default` where it has none.
    pub(super) fn show(&self, target: &T, default: &str) -> String {
        // Fields are named by what changes them, so that a row names its field once.
        let mut target = target.clone();
        let or_default = |value: Option<String>| value.unwrap_or_else(|| default.to_owned());
        match self {
            Self::Bool(field) => field(&mut target).to_string(),
            Self::OptBool(field) => or_default(field(&mut target).map(|value| value.to_string())),
            Self::U16(_, field) => field(&mut target).to_string(),
            Self::OptU16(_, field) => or_default(field(&mut target).map(|value| value.to_string())),
            Self::U32(_, field) => field(&mut target).to_string(),
            Self::U64(_, field) => field(&mut target).to_string(),
            Self::Count(field) => match *field(&mut target) {
                0 => String::from("-1"),
                count => count.to_string(),
            },
            Self::Text(_, _, field) => or_default(field(&mut target).clone()),
            Self::Secret(field) | Self::OwnSecret(_, _, field) => {
                or_default(field(&mut target).as_ref().map(|_| "(hidden)".to_owned()))
            }
            Self::Own(_, _, show) => show(&target),
        }
    }

    /// Whether two targets have it the same, hidden values included.
    pub(super) fn is_same(&self, left: &T, right: &T) -> bool {
        match self {
            Self::Secret(field) | Self::OwnSecret(_, _, field) => {
                *field(&mut left.clone()) == *field(&mut right.clone())
            }
            _ => self.show(left, "") == self.show(right, ""),
        }
    }

    /// Whether it is a string, for which no value says the same as none.
    const fn is_text(&self) -> bool {
        matches!(self, Self::Text(..) | Self::Secret(_) | Self::OwnSecret(..))
    }

    /// Whether `target` has what it would have without the option, so that one not in effect is not
    /// missed.
    pub(super) fn is_neutral(&self, target: &T, default: &str) -> bool {
        !self.is_text() && self.show(target, default) == default
    }

    fn shape(&self) -> String {
        match self {
            Self::Bool(_) | Self::OptBool(_) => String::from("true or false"),
            Self::U16(range, _) | Self::OptU16(range, _) => range.shape(),
            Self::U32(range, _) => range.shape(),
            Self::U64(range, _) => range.shape(),
            Self::Count(_) => String::from("a number; -1 for no bound"),
            Self::Text(_, STRING_BYTES_MAX, _) | Self::Secret(_) => String::from("text"),
            Self::Text(_, bytes_max, _) => format!("text of at most {bytes_max} bytes"),
            Self::Own(shape, ..) | Self::OwnSecret(shape, ..) => (*shape).to_owned(),
        }
    }
}

/// The largest number of connections or clients that can be bounded to: C's `int`.
const COUNT_MAX: i64 = i32::MAX as i64;

/// A number that lies within the range of `N`; the table's rows see to it.
fn cut<N: TryFrom<i64> + Default>(number: i64) -> N {
    let number = N::try_from(number);
    debug_assert!(number.is_ok(), "a row's range exceeds its field");
    number.unwrap_or_default()
}
