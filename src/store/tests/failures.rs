//! A locked, closed, damaged or full store is an error that passes, and loses nothing.

use super::*;
use crate::{
    background::Standing,
    model::ErrorCode,
    store::{Side, calls},
};

/// Does not wait for locks.
fn hasty() -> Config {
    Config { busy_timeout_ms: 0, ..Config::default() }
}

fn with_content(number: u64) -> Settled {
    let request = Body { parts: vec![chain(&[b"a", b"b"], b","), literal(vec![b'z'; 200])], uncut: false };
    Settled { request, ..placed(number, Some("e"), Some("r")) }
}

#[tokio::test]
async fn a_store_locked_by_another_process_is_busy_and_recovers() {
    let directory = TempDir::new().unwrap();
    let store = Store::open(&hasty(), directory.path()).unwrap();
    store.settle(vec![with_content(1)]).await.unwrap();

    let other = outside(&directory);
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let error = store.settle(vec![with_content(2)]).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Busy);
    assert!(error.message.contains("locked"), "{error}");
    assert_eq!(store.ping().await.unwrap_err().code, ErrorCode::Busy);
    // Reading goes on meanwhile.
    assert_eq!(store.call(&id(1).to_string()).await.unwrap().id, id(1));

    other.execute_batch("ROLLBACK").unwrap();
    store.ping().await.unwrap();
    store.settle(vec![with_content(2)]).await.unwrap();
    store.sync().await.unwrap();
    assert_eq!(store.last_sequence().await.unwrap(), 2);
    assert_eq!((count(&directory, "contents"), count(&directory, "turns")), (3, 2));
}

#[tokio::test]
async fn a_failed_job_undoes_itself_alone_and_is_forgotten() {
    let (directory, store) = open();
    let mut commits = store.subscribe();
    let writer = store.writer().unwrap().clone();
    // The writer is held up until all are queued, so that they share a commit: fine, failing, fine with the
    // same contents, and one that stores nothing.
    let (go, wait) = std::sync::mpsc::channel();
    let held = writer.write(move |_| wait.recv().map_err(|error| Error::internal(error.to_string())));
    let first = store.settle(vec![with_content(1)]);
    let failing = writer.write(|write| -> Result<(), Error> {
        crate::store::settle::settle(
            write,
            &[with_content(2), with_content(3)],
            Standing::Beside,
            &Default::default(),
        )?;
        Err(Error::invalid("on purpose"))
    });
    let panicking = writer.write(|write| -> Result<(), Error> {
        crate::store::settle::settle(write, &[with_content(4)], Standing::Beside, &Default::default())?;
        panic!("on purpose")
    });
    let last = store.settle(vec![with_content(5)]);
    let (held, first, failing, panicking, last, idle, ()) =
        tokio::join!(held, first, failing, panicking, last, store.ping(), async { go.send(()).unwrap() });
    held.and(idle).unwrap();
    assert_eq!((first.unwrap().len(), last.unwrap().len()), (1, 1));
    assert_eq!(failing.unwrap_err(), Error::invalid("on purpose"));
    assert_eq!(panicking.unwrap_err().code, ErrorCode::Internal);

    let stored = store.stored_after(0, 10).await.unwrap();
    assert_eq!(stored.iter().map(|stored| stored.call.id).collect::<Vec<_>>(), [id(1), id(5)]);
    assert_eq!(store.costs(Default::default()).await.unwrap()[0].calls, 2);
    let mut told = 0;
    while let Ok(sequence) = commits.try_recv() {
        told = sequence;
    }
    assert_eq!(told, store.last_sequence().await.unwrap());
    for number in [1, 5] {
        let body = store.body(id(number), Side::Request).await.unwrap();
        assert_eq!(body.bytes, with_content(number).request.bytes());
    }
    assert_eq!((count(&directory, "contents"), count(&directory, "turns")), (3, 2));
    let broken: i64 = outside(&directory)
        .query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(broken, 0);
}

#[tokio::test]
async fn what_was_rolled_back_is_not_remembered() {
    let (directory, store) = open();
    let writer = store.writer().unwrap();
    let failed = writer
        .write(|write| -> Result<(), Error> {
            crate::store::settle::settle(write, &[with_content(1)], Standing::Beside, &Default::default())?;
            Err(Error::invalid("on purpose"))
        })
        .await;
    assert!(failed.is_err());
    assert_eq!(
        (count(&directory, "contents"), count(&directory, "turns"), count(&directory, "runs")),
        (0, 0, 0)
    );
    // Ids that were remembered from the failed job would now point at nothing.
    store.settle(vec![with_content(1)]).await.unwrap();
    assert_eq!((count(&directory, "contents"), count(&directory, "turns")), (3, 2));
    let body = store.body(id(1), Side::Request).await.unwrap();
    assert_eq!(body.bytes, with_content(1).request.bytes());
}

#[tokio::test]
async fn a_full_disk_is_busy_and_recovers() {
    let (directory, store) = open();
    store.settle(vec![with_content(1)]).await.unwrap();
    let writer = store.writer().unwrap();
    let limit = async |pages: i64| {
        writer
            .write(move |write| Ok(write.connection.pragma_update(None, "max_page_count", pages)?))
            .await
            .unwrap();
    };
    // SQLite clamps this to the file's present size.
    limit(1).await;
    let noise = || {
        let mut at = 1u32;
        let next = |_| {
            at = at.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (at >> 24) as u8
        };
        (0..200_000).map(next).collect::<Vec<_>>()
    };
    let large =
        || Settled { request: Body { parts: vec![literal(noise())], uncut: false }, ..settled(bare(2)) };
    let error = store.settle(vec![large()]).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Busy);
    assert!(error.message.contains("disk full"), "{error}");
    assert_eq!(count(&directory, "spans"), 1);
    limit(i64::from(u32::MAX) - 1).await;
    store.settle(vec![large()]).await.unwrap();
    assert!(store.body(id(2), Side::Request).await.unwrap().bytes == noise());
}

#[tokio::test]
async fn a_connection_that_broke_is_opened_anew() {
    let (directory, store) = open();
    store.settle(vec![with_content(1)]).await.unwrap();
    let writer = store.writer().unwrap();
    let spoil =
        async |sql: &'static str| writer.write(|write| Ok(write.connection.execute_batch(sql)?)).await;
    // Refuses this connection's jobs from here on, and not its transactions.
    spoil("CREATE TEMP TRIGGER spoiled BEFORE INSERT ON spans BEGIN SELECT RAISE(ABORT, 'spoiled'); END")
        .await
        .unwrap();
    assert_eq!(store.settle(vec![with_content(2)]).await.unwrap_err().code, ErrorCode::Internal);
    store.settle(vec![with_content(2)]).await.unwrap();
    // Ends the transaction that the writer holds open.
    assert_eq!(spoil("COMMIT").await.unwrap_err().code, ErrorCode::Internal);
    store.settle(vec![with_content(3)]).await.unwrap();
    assert_eq!(count(&directory, "spans"), 3);
}

#[tokio::test]
async fn damage_is_an_error_and_stays_where_it_is() {
    let (directory, store) = open();
    store.settle(vec![with_content(1), settled(full(2))]).await.unwrap();
    let other = outside(&directory);
    other.execute("UPDATE profiles SET outcome = 'nonsense' WHERE id = (SELECT profile FROM spans WHERE sequence = 2)", []).unwrap();
    assert_eq!(store.call(&id(2).to_string()).await.unwrap_err().code, ErrorCode::Internal);
    assert_eq!(store.call(&id(1).to_string()).await.unwrap().id, id(1));
    for damage in [
        "UPDATE contents SET body = x'00'",
        "UPDATE turns SET parent = id",
        "UPDATE turns SET parent = 0",
        "UPDATE payloads SET request = x'02'",
        "UPDATE payloads SET request = x'0005'",
        "UPDATE payloads SET request = x'01ffffffffffffffffffff'",
        "UPDATE payloads SET request = x'07'",
    ] {
        other.execute(damage, []).unwrap();
        let error = store.body(id(1), Side::Request).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Damaged, "{damage}");
    }
}

#[tokio::test]
async fn a_closed_store_is_one_file_and_refuses_writing() {
    let (directory, store) = open();
    let other = store.clone();
    store.settle((0..50).map(with_content).collect()).await.unwrap();
    store.close().await;
    assert_eq!(other.settle(vec![with_content(99)]).await.unwrap_err().code, ErrorCode::Conflict);
    other.close().await;
    store.sync().await.unwrap();
    let files: Vec<_> =
        std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, [FILE]);
    // Reading is still possible, and what was written is there.
    assert_eq!(other.last_sequence().await.unwrap(), 50);
}

#[tokio::test]
async fn many_may_write_and_read_at_once() {
    let (directory, store) = open();
    let tasks: Vec<_> = (0..40u64)
        .map(|task| {
            let store = store.clone();
            tokio::spawn(async move {
                // Every call is settled by two tasks.
                let numbers = (task / 2 * 5)..(task / 2 * 5 + 5);
                store.settle(numbers.map(with_content).collect()).await.unwrap();
                store.calls(Default::default(), Default::default()).await.unwrap().items.len()
            })
        })
        .collect();
    for task in tasks {
        assert!(task.await.unwrap() >= 5);
    }
    assert_eq!(count(&directory, "spans"), 100);
    assert_eq!(store.costs(Default::default()).await.unwrap()[0].calls, 100);
    assert_eq!(store.runs(None, newest(10)).await.unwrap().len(), 1);
    assert!(calls::sequence(&outside(&directory), id(42)).unwrap().is_some());
}
