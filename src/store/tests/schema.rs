//! The file itself: made, migrated, refused, read beside a writer.

use super::*;
use crate::{
    model::{ErrorCode, filter::PageRequest},
    store::migrate::MIGRATIONS,
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
