//! The grammar against what MLflow 3.18's server says of the same text, and against anything at all.

mod print;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::{LoggedModelSearch, PageToken, *};
use crate::model::{
    Error,
    filter::search::{
        Clause, Comparison, DatasetField, ExperimentAttribute, Field, LoggedModelAttribute, Order, Position,
        Rank, RunAttribute, Start, Test, Value,
    },
};

fn one(text: &str) -> Clause<RunAttribute> {
    let mut clauses = run_filter(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(clauses.len(), 1, "{text}");
    clauses.remove(0)
}

fn equals(field: Field<RunAttribute>, text: &str) -> Clause<RunAttribute> {
    Clause { field, test: Test::Compare(Comparison::Equal, Value::Text(text.to_owned())) }
}

fn above(field: Field<RunAttribute>, value: Value) -> Clause<RunAttribute> {
    Clause { field, test: Test::Compare(Comparison::Greater, value) }
}

fn param(key: &str) -> Field<RunAttribute> {
    Field::Param(key.to_owned())
}

fn metric(key: &str) -> Field<RunAttribute> {
    Field::Metric(key.to_owned())
}

fn sentence<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    result.expect_err("an error").message
}

#[test]
fn names_come_bare_or_in_quotes() {
    for (text, key) in [
        ("params.a = 'x'", "a"),
        ("params.a.b.c = 'x'", "a.b.c"),
        ("params.`a b` = 'x'", "a b"),
        ("params.\"a b\" = 'x'", "a b"),
        ("params.'a b' = 'x'", "a b"),
        ("`params`.a = 'x'", "a"),
        ("params.`a/b-c:d` = 'x'", "a/b-c:d"),
        ("params.a/b = 'x'", "a/b"),
        ("params.ü = 'x'", "ü"),
        ("params.and = 'x'", "and"),
        ("params.in = 'x'", "in"),
        ("params.1 = 'x'", "1"),
        ("params.1a = 'x'", "1a"),
        ("params._a = 'x'", "_a"),
        ("params. = 'x'", ""),
        ("params.`a``b` = 'x'", "a`b"),
        ("params.a='x'", "a"),
        ("\n params.a\t=\n'x' ", "a"),
    ] {
        assert_eq!(one(text), equals(param(key), "x"), "{text}");
    }
}

#[test]
fn entities_have_their_short_names() {
    for entity in ["metric", "metrics"] {
        assert_eq!(one(&format!("{entity}.a > 1")), above(metric("a"), Value::Number(1.0)));
    }
    for entity in ["parameter", "parameters", "param", "params"] {
        assert_eq!(one(&format!("{entity}.a = 'x'")), equals(param("a"), "x"));
    }
    for entity in ["tag", "tags"] {
        let field = Field::Tag("mlflow.parentRunId".to_owned());
        assert_eq!(one(&format!("{entity}.mlflow.parentRunId = 'x'")), equals(field, "x"));
    }
    for entity in ["attribute.", "attributes.", "attr.", "run.", ""] {
        let field = Field::Attribute(RunAttribute::Status);
        assert_eq!(one(&format!("{entity}status = 'x'")), equals(field, "x"));
    }
    for (text, attribute) in [
        ("`run name` = 'x'", RunAttribute::Name),
        ("\"Run Name\" = 'x'", RunAttribute::Name),
        ("attributes.`Run name` = 'x'", RunAttribute::Name),
        ("run_id = 'x'", RunAttribute::Id),
        ("user_id = 'x'", RunAttribute::User),
        ("artifact_uri = 'x'", RunAttribute::ArtifactUri),
    ] {
        assert_eq!(one(text), equals(Field::Attribute(attribute), "x"), "{text}");
    }
    for (text, attribute) in [
        ("created > 5", RunAttribute::StartTime),
        ("Created > 5", RunAttribute::StartTime),
        ("end_time>5", RunAttribute::EndTime),
    ] {
        assert_eq!(one(text), above(Field::Attribute(attribute), Value::Integer(5)), "{text}");
    }
    assert_eq!(one("datasets.context = 'x'"), equals(Field::Dataset(DatasetField::Context), "x"));
}

#[test]
fn texts_are_unquoted_and_quotes_in_them_escaped() {
    for (text, value) in [
        ("''", ""),
        ("\"x y\"", "x y"),
        ("'it''s'", "it's"),
        (r"'it\'s'", "it's"),
        ("\"it's\"", "it's"),
        (r#""a\"b""#, "a\"b"),
        (r"'C:\temp'", r"C:\temp"),
        (r"'C:\'", r"C:\"),
        ("'ü ☃'", "ü ☃"),
        ("'a AND b = ''c'' OR (d)'", "a AND b = 'c' OR (d)"),
        ("'-- no comment'", "-- no comment"),
    ] {
        assert_eq!(one(&format!("params.a = {text}")), equals(param("a"), value), "{text}");
    }
}

#[test]
fn numbers_are_decimal() {
    for (text, value) in [
        ("0.5", 0.5),
        (".5", 0.5),
        ("5.", 5.0),
        ("-0.5", -0.5),
        ("1e3", 1e3),
        ("1E-3", 1e-3),
        ("-1e+3", -1e3),
    ] {
        assert_eq!(one(&format!("metrics.a > {text}")), above(metric("a"), Value::Number(value)), "{text}");
        assert_eq!(one(&format!("metrics.a>{text}")), above(metric("a"), Value::Number(value)), "{text}");
    }
    let far = "attributes.end_time > 99999999999999999999";
    assert_eq!(one(far), above(Field::Attribute(RunAttribute::EndTime), Value::Number(1e20)));
}

#[test]
fn conditions_are_joined_by_and() {
    for text in [
        "metrics.a > 1 AND params.b = 'x'",
        "metrics.a>1 and params.b='x'",
        "AND metrics.a > 1 AND AND params.b = 'x' AND",
        "metrics.a > 1 params.b = 'x'",
    ] {
        let expected = vec![above(metric("a"), Value::Number(1.0)), equals(param("b"), "x")];
        assert_eq!(run_filter(text), Ok(expected), "{text}");
    }
    assert_eq!(run_filter(""), Ok(vec![]));
    let many = vec!["params.a = 'x'"; 201].join(" AND ");
    assert!(sentence(run_filter(&many)).contains("at most 200 conditions"));
}

#[test]
fn words_of_operators_have_any_case() {
    let like = Test::Like { pattern: "%x_".to_owned(), any_case: false };
    assert_eq!(one("params.a LiKe '%x_'").test, like);
    let ilike = Test::Like { pattern: "%x_".to_owned(), any_case: true };
    assert_eq!(one("tags.a ilike '%x_'").test, ilike);
    for (text, not) in [("run_id in ('a', \"b\",)", false), ("run_id NOT  IN('a','b')", true)] {
        let values = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(one(text).test, Test::OneOf { values, not }, "{text}");
    }
    assert_eq!(one("params.a is null").test, Test::Exists(false));
    assert_eq!(one("tags.a IS  NOT NULL").test, Test::Exists(true));
}

#[test]
fn wrong_filters_say_what_and_where() {
    let valid = "Valid values are ['metric', 'parameter', 'tag', 'attribute', 'dataset']";
    for (text, expected) in [
        ("metrics.a > 1 OR metrics.b > 1", "Invalid clause(s) in filter string: 'OR' (at character 15)"),
        ("(metrics.a > 1)", "Invalid clause(s) in filter string: '(metrics.a > 1)' (at character 1)"),
        ("NOT metrics.a > 1", "Invalid clause(s) in filter string: 'NOT' (at character 1)"),
        ("metrics.a > 1;", "Invalid clause(s) in filter string: ';' (at character 14)"),
        ("metrics.a >", "Invalid clause(s) in filter string: 'metrics.a', '>' (at character 1)"),
        (
            "params.ü = 'x' AND params.a = 'x",
            "Invalid clause(s) in filter string: 'params.a', '=', ''', 'x' (at character 20)",
        ),
        ("metrics.a > 1 -- why", "Invalid clause(s) in filter string: '-', '-', 'why' (at character 15)"),
        (
            "params.a IS NOT 'x'",
            "Invalid clause(s) in filter string: 'params.a', 'IS', 'NOT', ''x'' (at character 1)",
        ),
        ("run_id IN 'a'", "Invalid clause(s) in filter string: 'run_id', 'IN', ''a'' (at character 1)"),
        (
            "metrics.a > 1; metrics.b > 1",
            "Search filter contained multiple expression 'metrics.a > 1; metrics.b > 1'. Provide AND-ed expression list.",
        ),
        (" ", "Invalid filter ' '. Could not be parsed."),
        ("1 > metrics.a", "Invalid comparison clause. Expected 'Identifier' found '1' (at character 1)"),
        ("'x' = params.a", "Invalid comparison clause. Expected 'Identifier' found ''x'' (at character 1)"),
        (
            "params.a-b = 'x'",
            "Invalid comparison clause. Expected 'Identifier' found 'params.a-b'; quote such a name: params.`a-b` (at character 1)",
        ),
        (
            "metrics.a@b > 1",
            "Invalid comparison clause. Expected 'Identifier' found 'metrics.a@b'; quote such a name: metrics.`a@b` (at character 1)",
        ),
        ("metrics.a > NaN", "Expected numeric value type for metric. Found NaN (at character 13)"),
        ("metrics.a > '1'", "Expected numeric value type for metric. Found '1' (at character 13)"),
        (
            "metrics.a>1AND metrics.b>2",
            "Expected numeric value type for metric. Found 1AND (at character 11)",
        ),
        (
            "metrics.a == 1",
            "Invalid comparator '==' not one of '{'>', '>=', '!=', '=', '<', '<='} (at character 14)",
        ),
        (
            "params.a > 'x'",
            "Invalid comparator '>' not one of '{'!=', '=', 'LIKE', 'ILIKE', 'IS NULL', 'IS NOT NULL'}' (at character 12)",
        ),
        (
            "params.a NOT LIKE 'x'",
            "Invalid comparator 'NOT LIKE' not one of '{'!=', '=', 'LIKE', 'ILIKE', 'IS NULL', 'IS NOT NULL'}' (at character 19)",
        ),
        (
            "params.a = 1",
            "Expected a quoted string value for parameter (e.g. 'my-value'). Got value 1 (at character 12)",
        ),
        (
            "params.a = ('a')",
            "Expected a quoted string value for parameter (e.g. 'my-value'). Got value ('a') (at character 12)",
        ),
        (
            "params.a = x",
            "Parameter value is either not quoted or unidentified quote types used for string value x. Use either single or double quotes. (at character 12)",
        ),
        (
            "metrics.a IS NULL",
            "IS NULL / IS NOT NULL is only supported for tags and params, not for 'metric' 'a' (at character 11)",
        ),
        (
            "status IN ('a')",
            "Only ['run_id'] attributes support comparison with a list of quoted string values. (at character 11)",
        ),
        (
            "run_id IN ()",
            "While parsing a list in the query, expected a non-empty list of string values, but got empty list (at character 11)",
        ),
        (
            "run_id IN (1, 2)",
            "While parsing a list in the query, expected string value, punctuation, or whitespace, but got different type in list: (1, 2) (at character 11)",
        ),
        (
            "run_id IN ('a'",
            "While parsing a list in the query, expected a non-empty list of string values, but got ill-formed list. (at character 11)",
        ),
        ("run_id = ('a')", "Invalid comparator '=' for a list of values: use IN or NOT IN (at character 10)"),
        (
            "start_time > '5'",
            "Expected numeric value type for numeric attribute: start_time. Found '5' (at character 14)",
        ),
        ("status = 1", "Expected a quoted string value for attributes. Got value 1 (at character 10)"),
        (
            "dataset.name = 1",
            "Expected a quoted string value for dataset attributes. Got value 1 (at character 16)",
        ),
        (
            "dataset.foo = 'x'",
            "Invalid dataset key 'foo' specified. Valid keys are '{'name', 'digest', 'context'}' (at character 1)",
        ),
    ] {
        assert_eq!(sentence(run_filter(text)), expected, "{text}");
    }
    assert_eq!(
        sentence(run_filter("Metrics.a > 1")),
        format!("Invalid entity type 'Metrics'. {valid} (at character 1)")
    );
    assert!(
        sentence(run_filter("bogus = 'x'"))
            .starts_with("Invalid attribute key 'bogus' specified. Valid keys")
    );
}

#[test]
fn orders_name_a_field_and_a_direction() {
    let list = |texts: &[&str]| run_order(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
    for (text, field, descending) in [
        ("metrics.acc", metric("acc"), false),
        ("metrics.acc DESC", metric("acc"), true),
        ("metrics.`a b` desc", metric("a b"), true),
        ("metrics.tapline/cost_usd ASC", metric("tapline/cost_usd"), false),
        ("params.\"a b\"", param("a b"), false),
        ("start_time", Field::Attribute(RunAttribute::StartTime), false),
        ("attribute.`start_time` DESC", Field::Attribute(RunAttribute::StartTime), true),
        ("Created DESC", Field::Attribute(RunAttribute::StartTime), true),
        ("tags.mlflow.user desc", Field::Tag("mlflow.user".to_owned()), true),
    ] {
        assert_eq!(list(&[text]), Ok(vec![Order { field, descending }]), "{text}");
    }
    for text in [
        "",
        "DESC",
        "metrics.a, metrics.b",
        "metrics.a DESC NULLS LAST",
        "metrics.a-b",
        "metrics.a;",
        "Run Name DESC",
    ] {
        let expected = match text {
            "Run Name DESC" => format!("Invalid ordering key in order_by clause '{text}'."),
            _ => format!("Invalid order_by clause '{text}'. Could not be parsed."),
        };
        assert_eq!(sentence(list(&[text])), expected);
    }
    assert_eq!(
        sentence(list(&["metrics.a foo"])),
        "Invalid ordering key in order_by clause 'metrics.a foo'."
    );
    assert!(sentence(list(&["`run name`"])).starts_with("Invalid attribute key 'run name' specified."));
    assert!(sentence(list(&["dataset.name"])).starts_with("Invalid identifier type 'dataset'"));
    assert!(
        sentence(list(&["metrics.a", "metric.a DESC"])).starts_with("`order_by` contains duplicate fields:")
    );
}

#[test]
fn experiments_have_four_attributes_and_tags() {
    let field = Field::Attribute(ExperimentAttribute::Id);
    let values = vec!["1".to_owned(), "2".to_owned()];
    assert_eq!(
        experiment_filter("attributes.experiment_id IN ('1', '2')"),
        Ok(vec![Clause { field, test: Test::OneOf { values, not: false } }])
    );
    assert!(experiment_filter("name LIKE '%a%' AND tags.`x y` IS NOT NULL AND creation_time >= 5").is_ok());
    for (text, expected) in [
        (
            "name IN ('a')",
            "Only ['experiment_id'] attributes support comparison with a list of quoted string values.",
        ),
        ("name > 'a'", "Invalid comparator '>' not one of"),
        ("name IS NULL", "IS NULL / IS NOT NULL is only supported for tags, not for attribute 'name'"),
        ("experiment_id LIKE '1'", "Invalid comparator for experiment_id: LIKE"),
        ("experiment_id = 'a'", "Invalid experiment ID 'a'. Experiment ID must be a valid integer."),
        ("creation_time > 5.5", "Invalid value for numeric attribute 'creation_time': '5.5'"),
        (
            "metrics.a > 1",
            "Invalid entity type 'metrics'. Valid entity types are ('attribute', 'attributes', 'tag', 'tags')",
        ),
        ("status = 'x'", "Invalid attribute key 'status' specified."),
    ] {
        let found = sentence(experiment_filter(text));
        assert!(found.starts_with(expected), "{text}: {found}");
    }
    assert!(experiment_order(&["name".to_owned(), "creation_time DESC".to_owned()]).is_ok());
    assert!(sentence(experiment_order(&["tags.a".to_owned()])).starts_with("Invalid order_by entity: tag"));
}

#[test]
fn logged_models_have_one_name_per_entity() {
    assert!(logged_model_filter("metrics.acc > 0.5 AND params.`l r` IN ('1') AND name like 'm%'").is_ok());
    for (text, expected) in [
        (
            "metric.acc > 1",
            "Invalid entity type: 'metric'. Expected one of ['attributes', 'metrics', 'params', 'tags'].",
        ),
        (
            "metrics.acc LIKE 1",
            "Invalid comparison operator for metrics.acc: 'LIKE'. Expected one of ('<', '<=', '>', '>=', '=', '!=').",
        ),
        ("name > 'a'", "Invalid comparison operator for attributes.name: '>'. Expected one of"),
        ("status = 'DONE'", "Unknown model status in filter: 'DONE'"),
        ("status LIKE 'R%'", "Invalid comparison operator for status: LIKE"),
    ] {
        let found = sentence(logged_model_filter(text));
        assert!(found.starts_with(expected), "{text}: {found}");
    }
    let order = logged_model_order("metrics.`a b`", false, Some("d"), None).unwrap();
    assert_eq!(order.order, Order { field: Field::Metric("a b".to_owned()), descending: true });
    let order = logged_model_order("creation_time", true, None, None).unwrap();
    assert_eq!(order.order.field, Field::Attribute(LoggedModelAttribute::CreationTime));
    assert!(
        sentence(logged_model_order("params.a", true, None, None)).ends_with("Only metrics are supported.")
    );
    assert!(
        sentence(logged_model_order("bogus", true, None, None))
            .starts_with("Invalid order by field name: bogus")
    );
    assert!(
        sentence(logged_model_order("name", true, None, Some("1"))).starts_with("`dataset_digest` can only")
    );
}

#[test]
fn evaluation_datasets_have_five_attributes_and_tags() {
    assert!(evaluation_dataset_filter("name IN ('a') AND created_time >= 5 AND tags.team = 'x'").is_ok());
    for (text, expected) in [
        ("name NOT IN ('a')", "List values for 'name' are only supported with the IN comparator."),
        (
            "created_by IN ('a')",
            "Only ['name'] attributes support comparison with a list of quoted string values.",
        ),
        ("tags.a IS NULL", "Invalid comparator for tag: IS NULL"),
        ("tag2.a = 'x'", "Invalid identifier token 'tag2' specified"),
        ("bogus = 'x'", "Invalid attribute key 'bogus' specified. Valid keys are: {"),
    ] {
        let found = sentence(evaluation_dataset_filter(text));
        assert!(found.starts_with(expected), "{text}: {found}");
    }
    assert!(evaluation_dataset_order(&["last_update_time DESC".to_owned()]).is_ok());
    assert!(
        sentence(evaluation_dataset_order(&["created_by".to_owned()])).starts_with("Invalid attribute key")
    );
}

fn position() -> Position {
    Position(vec![
        Rank::Value(Value::Text("a\"b".to_owned())),
        Rank::Value(Value::Number(0.1)),
        Rank::Nan,
        Rank::Missing,
        Rank::Value(Value::Integer(i64::MAX)),
    ])
}

#[test]
fn page_tokens_say_where_a_page_begins() {
    let order_by = ["metrics.a DESC".to_owned()];
    let search = PageToken { order_by: &order_by };
    let token = search.encode(&position());
    assert_eq!(search.decode(&token), Ok(Start::Behind(position())));
    assert_eq!(search.decode(""), Ok(Start::Top));
    // MLflow's own, which belong to no order.
    assert_eq!(search.decode("eyJvZmZzZXQiOiAxfQ=="), Ok(Start::Skip(1)));
    assert_eq!(
        sentence(PageToken { order_by: &[] }.decode(&token)),
        "Invalid page token, it belongs to a search with the order [\"metrics.a DESC\"]. Expected: []"
    );
    for (text, expected) in [
        ("%", "Invalid page token, decoded value=b''"),
        ("a", "Invalid page token, could not base64-decode"),
        ("YQ==", "Invalid page token, decoded value=b'a'"),
        ("e30=", "Invalid page token, parsed value={}"),
        ("eyJiZWhpbmQiOjF9", "Invalid page token, parsed value={\"behind\":1}"),
    ] {
        assert_eq!(sentence(search.decode(text)), expected);
    }
}

#[test]
fn a_page_of_logged_models_belongs_to_its_search() {
    let (experiments, order_by) = (["1".to_owned()], json!([{"field_name": "name"}]));
    let search =
        LoggedModelSearch { experiments: &experiments, filter: Some("name = 'a'"), order_by: &order_by };
    let token = search.encode(&position());
    assert_eq!(search.decode(&token), Ok(Start::Behind(position())));
    for other in [
        LoggedModelSearch { experiments: &[], ..search },
        LoggedModelSearch { filter: None, ..search },
        LoggedModelSearch { order_by: &Json::Null, ..search },
    ] {
        assert!(sentence(other.decode(&token)).contains("in the page token do"));
    }
}

proptest! {
    #[test]
    fn what_is_printed_is_read_again(clauses in prop::collection::vec(print::clause(), 0..6)) {
        let text = print::filter(&clauses);
        prop_assert_eq!(run_filter(&text), Ok(clauses), "{}", text);
    }

    #[test]
    fn orders_that_are_printed_are_read_again(field in print::field(), descending: bool) {
        let text = print::order(&field, descending);
        prop_assert_eq!(run_order(std::slice::from_ref(&text)), Ok(vec![Order { field, descending }]), "{}", text);
    }

    #[test]
    fn anything_is_read_or_refused(pieces in prop::collection::vec(print::piece(), 0..24)) {
        let text = pieces.concat();
        for refused in [
            run_filter(&text).err(),
            experiment_filter(&text).err(),
            logged_model_filter(&text).err(),
            evaluation_dataset_filter(&text).err(),
            run_order(std::slice::from_ref(&text)).err(),
        ]
        .into_iter()
        .flatten()
        {
            prop_assert!(!refused.message.is_empty());
        }
    }

    #[test]
    fn any_token_is_read_or_refused(token in "\\PC{0,40}") {
        if let Ok(read) = (PageToken { order_by: &[] }).decode(&token) {
            prop_assert!(read != Start::Skip(0));
        }
    }
}
