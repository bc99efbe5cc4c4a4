//! The file itself: made, migrated, refused, read beside a writer.

use super::*;
use crate::{
    model::{
        ErrorCode,
        filter::{CallFilter, PageRequest},
    },
    store::{Side, calls, migrate::MIGRATIONS},
};

#[tokio::test]
async fn an_empty_directory_becomes_a_store() {
    let directory = TempDir::new().unwrap();
    let nested = directory.path().join("not/yet there");
    let store = Store::open(&Config::default(), &nested).unwrap();
    store.ping().await.unwrap();
    let connection = Connection::open(nested.join(FILE)).unwrap();
    let pragma = |name: &str| -> String {
        connection
            .query_row(&format!("SELECT CAST({name} AS TEXT) FROM pragma_{name}"), [], |row| row.get(0))
            .unwrap()
    };
    assert_eq!(pragma("journal_mode"), "wal");
    assert_eq!(pragma("auto_vacuum"), "2", "incremental");
    assert_eq!(pragma("application_id"), 0x7461_706c.to_string());
    assert_eq!(pragma("integrity_check"), "ok");
    let loose: Vec<String> = connection
        .prepare("SELECT name FROM pragma_table_list WHERE schema = 'main' AND strict = 0 AND name NOT LIKE 'sqlite_%'")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(loose, Vec::<String>::new(), "every table is strict");
}

#[tokio::test]
async fn migrations_run_once_and_are_written_down() {
    for (index, migration) in MIGRATIONS.iter().enumerate() {
        assert_eq!(migration.number, index as i64 + 1, "numbered without gaps");
        assert!(migration.name.starts_with(&format!("{:04}_", migration.number)));
    }
    let (directory, store) = open();
    store.close().await;
    let applied = || -> Vec<(i64, String, i64)> {
        outside(&directory)
            .prepare("SELECT number, name, applied_at FROM migrations ORDER BY number")
            .unwrap()
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap()
    };
    let first = applied();
    assert_eq!(first.len(), MIGRATIONS.len());
    assert!(first.iter().all(|(_, _, at)| *at > START - 365 * UnixNanos::DAY * 5));
    Store::open(&Config::default(), directory.path()).unwrap().close().await;
    assert_eq!(applied(), first);
}

#[tokio::test]
async fn a_schema_of_another_version_is_refused() {
    for statement in [
        "INSERT INTO migrations (number, name, applied_at) VALUES (99, '0099_future', 0)",
        "UPDATE migrations SET name = '0001_somebody_elses'",
    ] {
        let (directory, store) = open();
        store.settle(vec![settled(bare(1))]).await.unwrap();
        store.close().await;
        outside(&directory).execute(statement, []).unwrap();
        for opened in [
            Store::open(&Config::default(), directory.path()),
            Store::open_read_only(&Config::default(), directory.path()),
        ] {
            let error = opened.unwrap_err();
            assert_eq!(error.code, ErrorCode::Conflict);
            assert!(error.message.contains(FILE) && error.message.contains("another version"), "{error}");
        }
        assert_eq!(count(&directory, "spans"), 1, "and nothing is touched");
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let directory = TempDir::new().unwrap();
    let text = "not a database, but a diary of some length. ".repeat(100);
    std::fs::write(directory.path().join(FILE), &text).unwrap();
    let error = Store::open(&Config::default(), directory.path()).unwrap_err();
    assert_eq!(error.code, ErrorCode::Internal);
    assert!(error.message.contains("foreign file"), "{error}");
    assert_eq!(std::fs::read_to_string(directory.path().join(FILE)).unwrap(), text);
}

#[tokio::test]
async fn a_reader_sees_what_a_running_server_commits() {
    let directory = TempDir::new().unwrap();
    let missing = Store::open_read_only(&Config::default(), directory.path()).unwrap_err();
    assert_eq!(missing.code, ErrorCode::NotFound);
    assert!(!directory.path().join(FILE).exists(), "looking makes nothing");
    // An empty file is a store that nobody has migrated yet.
    std::fs::write(directory.path().join(FILE), "").unwrap();
    assert_eq!(
        Store::open_read_only(&Config::default(), directory.path()).unwrap_err().code,
        ErrorCode::Conflict
    );

    let server = Store::open(&Config::default(), directory.path()).unwrap();
    let reader = Store::open_read_only(&Config::default(), directory.path()).unwrap();
    for number in 1..=3 {
        server.settle(vec![settled(bare(number))]).await.unwrap();
        let seen = reader.calls(Default::default(), PageRequest::default()).await.unwrap().items;
        assert_eq!(seen.len() as u64, number);
    }
    for refused in [
        reader.settle(vec![settled(bare(9))]).await.unwrap_err(),
        reader.set_cursor("x", 1).await.unwrap_err(),
        reader.ping().await.unwrap_err(),
    ] {
        assert_eq!(refused.code, ErrorCode::Conflict);
    }
    // After the server has gone, too.
    server.close().await;
    reader.close().await;
    let reader = Store::open_read_only(&Config::default(), directory.path()).unwrap();
    assert_eq!(reader.last_sequence().await.unwrap(), 3);
}

#[test]
fn keys_of_the_configuration_are_checked() {
    let config: Config = serde_json::from_str("{\"readers\": 5}").unwrap();
    assert_eq!(config, Config { readers: 5, ..Config::default() });
    assert!(serde_json::from_str::<Config>("{\"reader\": 5}").is_err());
    let directory = TempDir::new().unwrap();
    for wrong in [
        Config { readers: 0, ..Config::default() },
        Config { compression_level: 0, ..Config::default() },
        Config { compression_level: 23, ..Config::default() },
    ] {
        assert_eq!(Store::open(&wrong, directory.path()).unwrap_err().code, ErrorCode::Invalid);
    }
}

#[tokio::test]
async fn processes_that_start_together_make_one_store() {
    let directory = TempDir::new().unwrap();
    let stores: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..6).map(|_| scope.spawn(|| Store::open(&Config::default(), directory.path()))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for (number, store) in stores.into_iter().enumerate() {
        let mut one = placed(number as u64, Some("e"), Some("r"));
        one.request.parts = vec![chain(&[b"a", b"b"], b","), literal(vec![b'z'; 100])];
        store.unwrap().settle(vec![one]).await.unwrap();
    }
    let counts = ["migrations", "spans", "runs", "contents", "turns"].map(|table| count(&directory, table));
    assert_eq!(counts, [MIGRATIONS.len() as i64, 6, 1, 3, 2]);
}

#[tokio::test]
async fn two_that_write_one_store_give_their_contents_ids_of_their_own() {
    let directory = TempDir::new().unwrap();
    let stores = [(); 2].map(|()| Store::open(&Config::default(), directory.path()).unwrap());
    for number in 0..12u64 {
        let mut one = settled(bare(number));
        let text = format!("{number}").repeat(70);
        one.request.parts = vec![literal(text.clone()), literal("the same".repeat(20))];
        let store = &stores[number as usize % 2];
        store.settle(vec![one]).await.unwrap();
        let body = store.body(id(number), Side::Request).await.unwrap();
        assert_eq!(body.bytes, format!("{text}{}", "the same".repeat(20)));
    }
    assert_eq!(count(&directory, "contents"), 13);
    assert_eq!(count(&directory, "profiles"), 1);
}

/// A call as schema 9 kept it.
fn insert_as_before(connection: &Connection, sequence: i64, call: &Call) {
    let usage = &call.usage;
    let json = |texts: &[String]| (!texts.is_empty()).then(|| serde_json::to_string(texts).unwrap());
    let model = call.model().unwrap_or_default();
    let kind = [&call.upstream, &call.provider, model, &call.operation, call.status.as_str()];
    connection
        .execute(
            "INSERT OR IGNORE INTO kinds (upstream, provider, model, operation, status) VALUES (?, ?, ?, ?, ?)",
            kind,
        )
        .unwrap();
    let kind: i64 = connection
        .query_row(
            "SELECT id FROM kinds
                WHERE upstream = ? AND provider = ? AND model = ? AND operation = ? AND status = ?",
            kind,
            |row| row.get(0),
        )
        .unwrap();
    let columns: Vec<(&str, Box<dyn rusqlite::ToSql>)> = vec![
        ("sequence", Box::new(sequence)),
        ("kind", Box::new(kind)),
        ("call_id", Box::new(call.id.0)),
        ("trace_id", Box::new(call.trace_id.0)),
        ("span_id", Box::new(call.span_id.0)),
        ("parent_span_id", Box::new(call.parent_span_id.map(|id| id.0))),
        ("name", Box::new(call.name.clone())),
        ("started_at", Box::new(call.started_at.0)),
        ("ended_at", Box::new(call.ended_at.0)),
        ("duration_ns", Box::new(call.duration_ns())),
        ("experiment_id", Box::new(call.experiment_id.clone())),
        ("run_id", Box::new(call.run_id.clone())),
        ("session", Box::new(call.session.clone())),
        ("experiment_rule", Box::new(call.rules.experiment.clone())),
        ("run_rule", Box::new(call.rules.run.clone())),
        ("session_rule", Box::new(call.rules.session.clone())),
        ("user", Box::new(call.user.clone())),
        ("tags", Box::new(json(&call.tags))),
        (
            "metadata",
            Box::new((!call.metadata.is_empty()).then(|| serde_json::to_string(&call.metadata).unwrap())),
        ),
        ("upstream", Box::new(call.upstream.clone())),
        ("provider", Box::new(call.provider.clone())),
        ("server_address", Box::new(call.server_address.clone())),
        ("server_port", Box::new(call.server_port)),
        ("dialect", Box::new(call.dialect.as_str())),
        ("operation", Box::new(call.operation.clone())),
        ("request_model", Box::new(call.request_model.clone())),
        ("response_model", Box::new(call.response_model.clone())),
        ("streamed", Box::new(call.streamed)),
        ("method", Box::new(call.method.clone())),
        ("target", Box::new(call.target.clone())),
        ("peer", Box::new(call.peer.clone())),
        ("key_fingerprint", Box::new(call.key_fingerprint.clone())),
        ("status", Box::new(call.status.as_str())),
        ("outcome", Box::new(call.outcome.as_str())),
        ("http_status", Box::new(call.http_status)),
        ("error_type", Box::new(call.error_type.clone())),
        ("error_source", Box::new(call.error_source.map(calls::source_text))),
        ("error_message", Box::new(call.error_message.clone())),
        ("finish_reasons", Box::new(json(&call.finish_reasons))),
        ("response_id", Box::new(call.response_id.clone())),
        ("request_id", Box::new(call.request_id.clone())),
        ("retry_count", Box::new(call.retry_count)),
        ("service_tier", Box::new(call.service_tier.clone())),
        ("region", Box::new(call.region.clone())),
        ("tool_calls", Box::new(call.tool_calls)),
        ("input", Box::new(usage.input)),
        ("cache_read", Box::new(usage.cache_read)),
        ("cache_write", Box::new(usage.cache_write)),
        ("cache_write_long", Box::new(usage.cache_write_long)),
        ("input_audio", Box::new(usage.input_audio)),
        ("input_image", Box::new(usage.input_image)),
        ("output", Box::new(usage.output)),
        ("reasoning", Box::new(usage.reasoning)),
        ("output_audio", Box::new(usage.output_audio)),
        ("output_image", Box::new(usage.output_image)),
        ("web_searches", Box::new(usage.web_searches)),
        ("seconds", Box::new(usage.seconds)),
        ("characters", Box::new(usage.characters)),
        ("search_units", Box::new(usage.search_units)),
        (
            "meters",
            Box::new((!usage.meters.is_empty()).then(|| serde_json::to_string(&usage.meters).unwrap())),
        ),
        ("reported_cost", Box::new(usage.reported_cost_nano_usd)),
        ("usage_source", Box::new(call.usage_source.map(UsageSource::as_str))),
        ("cost", Box::new(call.cost.map(|cost| cost.0))),
        ("billed", Box::new(call.billed.map(|billed| billed.0))),
        ("price_id", Box::new(call.price_id.clone())),
        ("first_byte_ns", Box::new(call.first_byte_ns)),
        ("first_token_ns", Box::new(call.first_token_ns)),
        ("last_token_ns", Box::new(call.last_token_ns)),
        ("chunks", Box::new(call.chunks)),
        ("sent_bytes", Box::new(call.sent_bytes)),
        ("received_bytes", Box::new(call.received_bytes)),
        ("request_whole", Box::new(call.request_whole)),
        ("response_whole", Box::new(call.response_whole)),
        ("notes", Box::new(json(&call.notes))),
    ];
    let names: Vec<_> = columns.iter().map(|(name, _)| *name).collect();
    let holes = vec!["?"; columns.len()].join(", ");
    let values: Vec<_> = columns.iter().map(|(_, value)| &**value).collect();
    connection
        .execute(&format!("INSERT INTO spans ({}) VALUES ({holes})", names.join(", ")), &*values)
        .unwrap();
    for tag in &call.tags {
        connection
            .execute(
                "INSERT INTO call_tags (tag, started_at, sequence, kind) VALUES (?, ?, ?, ?)",
                rusqlite::params![tag, call.started_at.0, sequence, kind],
            )
            .unwrap();
    }
    connection
        .execute(
            "INSERT INTO payloads (sequence, heads, request, response, arrivals, uncut)
                VALUES (?1, x'', x'00026869', x'', x'', 0)",
            [sequence],
        )
        .unwrap();
}

#[tokio::test]
async fn calls_of_an_older_store_keep_every_field_and_all_that_hangs_on_them() {
    let directory = TempDir::new().unwrap();
    let headless = |call: Call| Call {
        request_headers: Default::default(),
        response_headers: Default::default(),
        ..call
    };
    let mut own = headless(full(3));
    own.trace_id = TraceId(own.id.0);
    own.target = "/responses/resp_68a1f0c9e2b4".into();
    own.metadata = json!({"none": null, "deep": {"none": null}, "big": 1e300}).as_object().unwrap().clone();
    let calls = [headless(full(1)), headless(bare(2)), own, headless(bare(4))];
    {
        let connection = outside(&directory);
        connection.pragma_update(None, "foreign_keys", true).unwrap();
        connection
            .execute_batch(
                "CREATE TABLE migrations (number INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at INTEGER NOT NULL)
                    STRICT",
            )
            .unwrap();
        for migration in &MIGRATIONS[..9] {
            connection.execute_batch(&format!("BEGIN; {} ; COMMIT", migration.sql)).unwrap();
            let applied = rusqlite::params![migration.number, migration.name];
            connection.execute("INSERT INTO migrations VALUES (?, ?, 0)", applied).unwrap();
        }
        for (sequence, call) in (1..).zip(&calls) {
            insert_as_before(&connection, sequence, call);
        }
        for (content, text) in (1i64..).zip(["{\"role\":\"user\"}", "a text", "another"]) {
            let digest = blake3::hash(text.as_bytes());
            connection
                .execute(
                    "INSERT INTO contents (id, size, body) VALUES (?1, ?2, unhex('00' || hex(?3)))",
                    rusqlite::params![content, text.len(), text],
                )
                .unwrap();
            connection
                .execute(
                    "INSERT INTO content_hashes (hash, content) VALUES (?1, ?2)",
                    rusqlite::params![&digest.as_bytes()[..16], content],
                )
                .unwrap();
        }
        insert_as_before(&connection, 9, &bare(9));
        connection.execute("DELETE FROM spans WHERE sequence = 9", []).unwrap();
    }
    let store = Store::open(&Config::default(), directory.path()).unwrap();
    let stored = store.stored_after(0, 10).await.unwrap();
    assert_eq!(stored.iter().map(|one| one.sequence).collect::<Vec<_>>(), [1, 2, 3, 4]);
    for (stored, call) in stored.iter().zip(&calls) {
        assert_eq!(stored.call, *call);
        assert_eq!(store.call(&call.id.to_string()).await.unwrap(), *call);
        assert_eq!(store.call(&call.span_id.to_string()).await.unwrap().id, call.id);
        assert_eq!(store.body(call.id, Side::Request).await.unwrap().bytes, "hi");
        let filter = CallFilter { trace: Some(call.trace_id), ..CallFilter::default() };
        let found = store.calls(filter, PageRequest::default()).await.unwrap().items;
        assert!(found.contains(call), "{}", call.trace_id);
    }
    let tagged = CallFilter { tag: Some("nightly".into()), ..CallFilter::default() };
    assert_eq!(store.calls(tagged, PageRequest::default()).await.unwrap().items.len(), 2);
    // Those that are there are known again, and a place in the order of storing is never given twice.
    store.settle(calls.iter().cloned().map(settled).collect()).await.unwrap();
    assert_eq!(store.last_sequence().await.unwrap(), 9);
    store.settle(vec![settled(full(5))]).await.unwrap();
    assert_eq!(store.last_sequence().await.unwrap(), 10);
    assert_eq!(store.call(&id(5).to_string()).await.unwrap(), full(5));
    // A content that is there is found by its bytes.
    let mut known = settled(bare(6));
    known.request.parts = vec![chain(&[b"another", b"{\"role\":\"user\"}", b"a text", b"new"], b",")];
    store.settle(vec![known]).await.unwrap();
    assert_eq!(count(&directory, "contents"), 4);
    let body = store.body(id(6), Side::Request).await.unwrap();
    assert_eq!(body.bytes, "another,{\"role\":\"user\"},a text,new");
    store.close().await;
    let sound: String =
        outside(&directory).query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
    assert_eq!(count(&directory, "pragma_foreign_key_check"), 0);
}
