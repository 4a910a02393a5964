//! The tree between the sources and the typed configuration: TOML values, each with its origin.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Origin, Problem};

/// A value and where it came from.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// What a node holds.
#[derive(Debug, Clone)]
pub(super) enum Value {
    String(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Array(Vec<Node>),
    Table(BTreeMap<String, Node>),
    /// From the environment or a flag, where nobody writes quotes: the type wanted decides
    /// whether it is TOML or plain text.
    Text(Text),
}

/// A value without quotes and all that it may turn out to mean.
#[derive(Debug, Clone)]
pub(super) struct Text {
    /// As given.
    pub(super) raw: String,
    /// What it is as TOML, if it is TOML.
    pub(super) toml: Option<Box<Node>>,
    /// What it is as a list that is separated by commas.
    pub(super) parts: Vec<Node>,
}

impl Text {
    /// Whether it is a list in brackets.
    pub(super) fn is_list(&self) -> bool {
        matches!(self.toml.as_deref(), Some(Node { value: Value::Array(_), .. }))
    }
}

impl Node {
    /// Where the value at a dotted path with indices (`clusters[0].id`) came from, or failing
    /// that, the nearest value around it.
    pub(super) fn origin(&self, path: &str) -> Origin {
        let mut node = self;
        for step in path.split(['.', '[']) {
            let next = match &node.value {
                Value::Table(entries) => entries.get(step),
                Value::Array(elements) => {
                    step.trim_end_matches(']').parse().ok().and_then(|i: usize| elements.get(i))
                }
                Value::String(_)
                | Value::Integer(_)
                | Value::Float(_)
                | Value::Boolean(_)
                | Value::Text(_) => None,
            };
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        node.origin.clone()
    }

    /// Sets the value at a dotted path, making the tables on the way. A path that runs into
    /// something that is not a table says which key that is.
    pub(super) fn set(&mut self, path: &str, node: Node) -> Result<(), String> {
        let (head, rest) = match path.split_once('.') {
            Some((head, rest)) => (head, Some(rest)),
            None => (path, None),
        };
        let Value::Table(entries) = &mut self.value else {
            return Err("is inside a key that the file sets to something else than a table".into());
        };
        match rest {
            None => {
                entries.insert(head.to_owned(), node);
                Ok(())
            }
            Some(rest) => entries
                .entry(head.to_owned())
                .or_insert_with(|| Node {
                    value: Value::Table(BTreeMap::new()),
                    origin: Origin::Default,
                })
                .set(rest, node),
        }
    }
}

/// Parses a file's text. The root's origin is the file as a whole.
pub(super) fn parse(text: &str) -> Result<Node, Problem> {
    let lines = Lines::of(text);
    let table = DeTable::parse(text).map_err(|error| syntax(&error, &lines))?;
    let mut root = table_node(table.get_ref(), &|span| Origin::File { line: lines.line(&span) })?;
    root.origin = Origin::Default;
    Ok(root)
}

/// A node for text from the environment or a flag. Everything in it has the origin of the whole.
pub(super) fn text(raw: &str, origin: &Origin) -> Node {
    let single = |raw: &str, parts| {
        let parsed = DeValue::parse(raw).ok();
        let toml = parsed
            .and_then(|value| node(value.get_ref(), origin.clone(), &|_| origin.clone()).ok());
        let text = Text { raw: raw.to_owned(), toml: toml.map(Box::new), parts };
        Node { value: Value::Text(text), origin: origin.clone() }
    };
    let parts = raw.split(',').map(|part| single(part.trim(), Vec::new())).collect();
    single(raw, parts)
}

fn syntax(error: &toml::de::Error, lines: &Lines) -> Problem {
    let origin =
        error.span().map_or(Origin::Default, |span| Origin::File { line: lines.line(&span) });
    // The parser's message may have several lines ("invalid string\nexpected `\"`").
    let reason = error.message().lines().collect::<Vec<_>>().join(", ");
    Problem { origin, key: String::new(), reason: format!("not valid TOML: {reason}") }
}

type OriginOf<'a> = &'a dyn Fn(Range<usize>) -> Origin;

fn node(value: &DeValue<'_>, origin: Origin, of: OriginOf<'_>) -> Result<Node, Problem> {
    let refuse = |reason: String| Problem { origin: origin.clone(), key: String::new(), reason };
    let value = match value {
        DeValue::String(text) => Value::String(text.clone().into_owned()),
        DeValue::Integer(number) => {
            let parsed = i64::from_str_radix(number.as_str(), number.radix());
            Value::Integer(parsed.map_err(|_| refuse(format!("{number} is too large a number")))?)
        }
        DeValue::Float(number) => {
            let parsed = number.as_str().parse();
            Value::Float(parsed.map_err(|_| refuse(format!("{number} is not a number")))?)
        }
        DeValue::Boolean(truth) => Value::Boolean(*truth),
        // Nothing in a configuration is a date, so to everyone it is a string of the wrong form.
        DeValue::Datetime(datetime) => Value::String(datetime.to_string()),
        DeValue::Array(elements) => Value::Array(
            elements
                .iter()
                .map(|element| node(element.get_ref(), of(element.span()), of))
                .collect::<Result<_, _>>()?,
        ),
        DeValue::Table(table) => {
            return table_node(table, of).map(|table| Node { origin, ..table });
        }
    };
    Ok(Node { value, origin })
}

fn table_node(table: &DeTable<'_>, of: OriginOf<'_>) -> Result<Node, Problem> {
    let mut entries = BTreeMap::new();
    for (key, value) in table {
        let key: &Spanned<_> = key;
        // The key's line, not the value's: of a list over many lines, people look for the name.
        let entry = node(value.get_ref(), of(key.span()), of).map_err(|mut problem| {
            problem.key = join(key.get_ref(), &problem.key);
            problem
        })?;
        entries.insert(key.get_ref().clone().into_owned(), entry);
    }
    Ok(Node { value: Value::Table(entries), origin: Origin::Default })
}

fn join(head: &str, rest: &str) -> String {
    if rest.is_empty() { head.to_owned() } else { format!("{head}.{rest}") }
}

/// Byte offsets of line starts.
struct Lines {
    starts: Vec<usize>,
}

impl Lines {
    fn of(text: &str) -> Self {
        let breaks = text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n');
        Self { starts: std::iter::once(0).chain(breaks.map(|(at, _)| at + 1)).collect() }
    }

    /// The line of a span's first byte, counted from 1.
    fn line(&self, span: &Range<usize>) -> usize {
        self.starts.partition_point(|&start| start <= span.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_the_lines_of_keys() {
        let text = "a = 1\n\n[b]\nc = [\n  1,\n  { d = 2 },\n]\n[[e]]\nf = 1\n[[e]]\nf = 2\n";
        let root = parse(text).unwrap();
        let table = [
            ("a", 1),
            ("b", 3),
            ("b.c", 4),
            ("b.c[0]", 5),
            ("b.c[1].d", 6),
            ("b.c[1].absent", 6),
            ("b.absent", 3),
            ("e[0].f", 9),
            ("e[1].f", 11),
        ];
        for (path, line) in table {
            assert_eq!(root.origin(path), Origin::File { line }, "{path}");
        }
        assert_eq!(root.origin("absent"), Origin::Default);
    }

    #[test]
    fn set_makes_tables_and_says_what_is_in_the_way() {
        let mut root = parse("a = 1\n").unwrap();
        let flag = || text("1", &Origin::Flag("--x".into()));
        root.set("b.c", flag()).unwrap();
        assert_eq!(root.origin("b.c"), Origin::Flag("--x".into()));
        assert!(root.set("a.b", flag()).is_err());
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused_with_line_and_key() {
        let problem = parse("\n[a]\nb = 99999999999999999999\n").unwrap_err();
        assert_eq!(problem.origin, Origin::File { line: 3 });
        assert_eq!(problem.key, "a.b");
    }
}
