//! Content: exact bytes back, and each stretch stored once.

use proptest::prelude::*;

use super::*;
use crate::store::Side;

async fn rebuilt(store: &Store, call: CallId, side: Side) -> Bytes {
    store.body(call, side).await.unwrap().bytes
}

fn with_bodies(number: u64, request: Vec<Part>, response: Vec<Part>) -> Settled {
    Settled {
        request: Body { parts: request, uncut: false },
        response: Body { parts: response, uncut: false },
        ..settled(bare(number))
    }
}

#[tokio::test]
async fn inv8_bodies_come_back_byte_for_byte() {
    let (_directory, store) = open();
    let noise: Vec<u8> = (0..=255u8).cycle().take(5_000).collect();
    let bodies: Vec<Vec<Part>> = vec![
        vec![],
        vec![literal("")],
        vec![literal("short")],
        vec![literal(vec![b'x'; 63]), literal(vec![b'x'; 64]), literal(vec![b'x'; 65])],
        vec![literal(noise.clone())],
        vec![literal(b"\xff\xfe\x00\xc3\x28".to_vec())],
        vec![chain(&[], b",")],
        vec![chain(&[b"one"], b",")],
        vec![chain(&[b"", b"", b""], b"")],
        vec![chain(&[b"", b"x", b""], b" ,\n ")],
        vec![
            literal("{\"messages\":["),
            chain(&[b"{\"role\":\"user\"}", &noise, b"{\"a\":1,\"a\":2}"], b", "),
            literal("]}"),
        ],
        vec![chain(&[b"a", b"b"], &noise), chain(&[b"a", b"b"], b","), chain(&[b"b", b"a"], b",")],
        vec![chain(&[b"a", b"a", b"a", b"a"], b",")],
    ];
    for (number, parts) in bodies.iter().enumerate() {
        let other = bodies[bodies.len() - 1 - number].clone();
        let one = with_bodies(number as u64, parts.clone(), other);
        let (request, response) = (one.request.bytes(), one.response.bytes());
        store.settle(vec![one]).await.unwrap();
        assert_eq!(rebuilt(&store, id(number as u64), Side::Request).await, request, "{parts:?}");
        assert_eq!(rebuilt(&store, id(number as u64), Side::Response).await, response, "{parts:?}");
    }
    let missing = store.body(id(999), Side::Request).await.unwrap_err();
    assert_eq!(missing.code, crate::model::ErrorCode::NotFound);
}

#[tokio::test]
async fn inv8_huge_bodies_come_back_byte_for_byte() {
    let (directory, store) = open();
    // Longer than one content may be, and not the same piece twice.
    let huge: Vec<u8> = (0..20_000_000u32).map(|at| (at / 1_000) as u8 ^ (at % 251) as u8).collect();
    let calls = [
        with_bodies(1, vec![literal(huge.clone())], vec![]),
        with_bodies(2, vec![chain(&[b"small", &huge, b""], b",")], vec![]),
        with_bodies(3, vec![], vec![literal(huge.clone())]),
    ];
    for (number, one) in (1..).zip(calls) {
        let (request, response) = (one.request.bytes(), one.response.bytes());
        store.settle(vec![one]).await.unwrap();
        assert!(rebuilt(&store, id(number), Side::Request).await == request);
        assert!(rebuilt(&store, id(number), Side::Response).await == response);
        if number == 2 {
            assert_eq!(count(&directory, "contents"), 2, "two pieces, shared by both");
        }
    }
}

#[tokio::test]
async fn arrivals_come_back_with_the_response() {
    let (_directory, store) = open();
    let arrivals = vec![
        Arrival { offset_us: 900, length: 0 },
        Arrival { offset_us: 100, length: u64::MAX },
        Arrival { offset_us: u64::MAX, length: 1 },
    ];
    let one = Settled { arrivals: arrivals.clone(), ..with_bodies(1, vec![], vec![literal("x")]) };
    store.settle(vec![one]).await.unwrap();
    assert_eq!(store.body(id(1), Side::Response).await.unwrap().arrivals, arrivals);
    assert_eq!(store.body(id(1), Side::Request).await.unwrap().arrivals, []);
}

#[tokio::test]
async fn a_chat_of_n_turns_costs_n_rows_and_not_n_squared() {
    const TURNS: usize = 60;
    let (directory, store) = open();
    let messages: Vec<Vec<u8>> = (0..TURNS * 2)
        .map(|number| {
            format!("{{\"role\":\"user\",\"content\":\"message {number} {}\"}}", "word ".repeat(40))
                .into_bytes()
        })
        .collect();
    let tools = literal(format!("{{\"tools\":[{}],\"messages\":[", "{\"type\":\"function\"},".repeat(50)));
    let mut sent = 0;
    for turn in 0..TURNS {
        let history: Vec<&[u8]> = messages[..=turn * 2].iter().map(Vec::as_slice).collect();
        let answer = literal(messages[turn * 2 + 1].clone());
        let one =
            with_bodies(turn as u64, vec![tools.clone(), chain(&history, b","), literal("]}")], vec![answer]);
        sent += one.request.len();
        let expected = one.request.bytes();
        store.settle(vec![one]).await.unwrap();
        assert_eq!(rebuilt(&store, id(turn as u64), Side::Request).await, expected);
    }
    // Each message once, what each answer said, and the tools once; a turn for each message that was sent.
    assert_eq!(count(&directory, "contents"), TURNS as i64 * 3);
    assert_eq!(count(&directory, "turns"), TURNS as i64 * 2 - 1);
    let stored: usize = outside(&directory)
        .query_row(
            "SELECT (SELECT sum(length(body)) FROM contents) + (SELECT sum(length(request) + length(response)) FROM payloads)",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert!(stored * 20 < sent, "{stored} bytes for {sent}");
}

#[tokio::test]
async fn a_fork_shares_its_past() {
    let (directory, store) = open();
    let histories: [&[&[u8]]; 4] =
        [&[b"a", b"b", b"c"], &[b"a", b"b", b"d"], &[b"x", b"b", b"c"], &[b"a", b"b"]];
    for (number, history) in histories.iter().enumerate() {
        store.settle(vec![with_bodies(number as u64, vec![chain(history, b",")], vec![])]).await.unwrap();
    }
    assert_eq!(count(&directory, "contents"), 5);
    // a, ab, abc, abd, x, xb, xbc.
    assert_eq!(count(&directory, "turns"), 7);
    assert_eq!(rebuilt(&store, id(2), Side::Request).await, &b"x,b,c"[..]);
}

#[tokio::test]
async fn content_is_shared_with_what_an_earlier_process_stored() {
    let (directory, store) = open();
    let parts = || vec![chain(&[b"a", b"b"], b","), literal(vec![b'z'; 500])];
    store.settle(vec![with_bodies(1, parts(), vec![])]).await.unwrap();
    store.close().await;
    let store = Store::open(&Config::default(), directory.path()).unwrap();
    store.settle(vec![with_bodies(2, parts(), parts())]).await.unwrap();
    assert_eq!((count(&directory, "contents"), count(&directory, "turns")), (3, 2));
}

#[tokio::test]
async fn settling_again_changes_nothing() {
    let (directory, store) = open();
    let one = || Settled {
        placement: Placement { experiment: Some("e".into()), run: Some("r".into()), peer: None },
        request: Body { parts: vec![chain(&[b"a"], b","), literal(vec![b'z'; 100])], uncut: false },
        response: Body { parts: vec![literal(vec![b'y'; 100])], uncut: false },
        arrivals: vec![Arrival { offset_us: 1, length: 100 }],
        ..settled(full(1))
    };
    let tables = ["experiments", "runs", "spans", "call_tags", "payloads", "contents", "turns", "rollups"];
    let look = || tables.map(|table| count(&directory, table));
    let first = store.settle(vec![one()]).await.unwrap();
    let (rows, costs) = (look(), store.costs(Default::default()).await.unwrap());
    let mut commits = store.subscribe();

    // Twice more in one batch, one of them placed and bodied otherwise: what is there stays.
    let mut other = one();
    other.placement =
        Placement { experiment: Some("elsewhere".into()), run: Some("other".into()), peer: None };
    other.request = Body { parts: vec![literal(vec![b'n'; 100])], uncut: false };
    other.call.cost = Some(NanoUsd(1_000));
    let again = store.settle(vec![one(), other]).await.unwrap();
    assert_eq!(again, [first[0].clone(), first[0].clone()]);
    assert_eq!(look(), rows);
    assert_eq!(store.costs(Default::default()).await.unwrap(), costs);
    assert!(commits.try_recv().is_err(), "nothing was stored, so nothing is told");

    // Also within one batch, and new calls beside it.
    let mixed = store.settle(vec![one(), settled(bare(2)), settled(bare(2))]).await.unwrap();
    assert_eq!(mixed.iter().map(|call| call.id).collect::<Vec<_>>(), [id(1), id(2), id(2)]);
    assert_eq!(count(&directory, "spans"), 2);
    assert_eq!(store.costs(Default::default()).await.unwrap()[0].calls, 2);
}

fn any_part() -> impl Strategy<Value = Part> {
    // Few different bytes and lengths, so that contents and turns meet again.
    let bytes = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..3),
        (0u8..3, prop_oneof![Just(63usize), Just(64), Just(200)])
            .prop_map(|(byte, length)| vec![byte; length]),
    ];
    prop_oneof![
        bytes.clone().prop_map(literal),
        (proptest::collection::vec(bytes.clone(), 0..5), bytes).prop_map(|(items, separator)| Part::Chain {
            items: items.into_iter().map(Bytes::from).collect(),
            separator: separator.into(),
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn inv8_any_bodies_come_back_byte_for_byte(
        bodies in proptest::collection::vec(proptest::collection::vec(any_part(), 0..5), 1..12)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (_directory, store) = open();
            let calls: Vec<_> = bodies
                .iter()
                .enumerate()
                .map(|(number, parts)| with_bodies(number as u64, parts.clone(), parts.clone()))
                .collect();
            store.settle(calls.clone()).await.unwrap();
            for one in calls {
                assert_eq!(rebuilt(&store, one.call.id, Side::Request).await, one.request.bytes());
                assert_eq!(rebuilt(&store, one.call.id, Side::Response).await, one.response.bytes());
            }
        });
    }
}
