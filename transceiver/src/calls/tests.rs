//! The front desk, with shards that do what the test says.

use super::*;
use crate::backend::{Board, echo::Echoes, parrot::Parrots};
use crate::negotiation::Role;
use crate::shard::Orders;
use engine::sim::{Network, NetworkSettings};
use engine::{Engine, Settings};

const OFFER: &str = include_str!("../../tests/offers/audio-and-data.sdp");

struct Scene {
    calls: Arc<Calls>,
    orders: Vec<Orders>,
    runtime: tokio::runtime::Runtime,
}

fn scene(shards: usize, calls_per_shard_max: u32) -> Scene {
    let network = Network::new(NetworkSettings::default());
    let orders: Vec<Orders> = (0..shards).map(|_| Orders::new()).collect();
    let handles = orders.iter().map(|orders| {
        let waker = network.engine(&[], &Settings::default()).unwrap().waker();
        let board = Board::new(None);
        ShardHandles { desk: orders.desk(waker, board), calls: Arc::default() }
    });
    let policy = Policy {
        keyring: Arc::new(crate::session::testing::keyring()),
        cluster: ClusterId(1),
        transceiver: TransceiverId(1),
        hint_lifetime: Duration::from_secs(3_600),
        ingress: Arc::from([crate::session::testing::INGRESS.parse().unwrap()]),
        calls_per_shard_max,
    };
    let backends: Vec<Box<dyn Backends>> = vec![Box::new(Echoes), Box::new(Parrots)];
    let calls = Calls::new(handles.collect(), backends, policy, Arc::default())
        .unwrap()
        .with_default("parrot");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    Scene { calls: Arc::new(calls), orders, runtime }
}

impl Scene {
    /// Opens a call as far as the order to its shard.
    fn ask_for_a_call(
        &self,
        model: Option<&str>,
    ) -> tokio::task::JoinHandle<Result<Opened, OpenError>> {
        let offer = Offer::parse(OFFER.as_bytes(), Role::Call).unwrap();
        let session = model.map(|model| serde_json::json!({ "model": model }));
        let calls = Arc::clone(&self.calls);
        let asked =
            self.runtime.spawn(async move { calls.open(offer, session, Instant::now()).await });
        self.runtime.block_on(async {
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        });
        asked
    }

    fn opening(&self, shard: usize) -> (Box<Opening>, oneshot::Sender<Result<(), Refusal>>) {
        match self.orders[shard].take() {
            Some(Order::Open(opening, reply)) => (opening, reply),
            _ => panic!("an order to open a call"),
        }
    }
}

#[test]
fn the_answer_waits_for_the_shard() {
    let scene = scene(1, 10);
    let asked = scene.ask_for_a_call(None);
    assert!(!asked.is_finished(), "the shard has not confirmed");
    let (opening, reply) = scene.opening(0);
    assert_eq!(opening.backend_name, "parrot", "the default");
    reply.send(Ok(())).unwrap();
    let opened = scene.runtime.block_on(asked).unwrap().unwrap();
    assert_eq!(opened.id, opening.id);
    assert!(opened.answer.contains(opening.credentials.ufrag.as_str()));
    assert!(scene.orders[0].take().is_none(), "and nothing ends it");
}

#[test]
fn a_call_that_nobody_waits_for_any_more_is_ended() {
    let scene = scene(1, 10);
    let asked = scene.ask_for_a_call(None);
    let (opening, _reply) = scene.opening(0);
    asked.abort();
    assert!(scene.runtime.block_on(asked).unwrap_err().is_cancelled());
    let Some(Order::Ask(id, Question::HangUp, _)) = scene.orders[0].take() else {
        panic!("the call must be ended");
    };
    assert_eq!(id, opening.id);
}

#[test]
fn the_shard_with_the_fewest_calls_gets_the_next_until_all_are_full() {
    let scene = scene(2, 2);
    for expected in [0, 1, 0, 1] {
        let asked = scene.ask_for_a_call(Some("echo"));
        let (opening, reply) = scene.opening(expected);
        assert_eq!(usize::from(opening.id.shard().0), expected);
        reply.send(Ok(())).unwrap();
        scene.runtime.block_on(asked).unwrap().unwrap();
    }
    assert_eq!(scene.calls.loads(), [2, 2]);
    let refused = scene.runtime.block_on(scene.ask_for_a_call(None)).unwrap().unwrap_err();
    assert_eq!(refused, OpenError::Refused(Refusal::Full));
    assert_eq!(scene.calls.loads(), [2, 2], "a refusal takes no place");
}

#[test]
fn refusals_say_what_there_is() {
    let scene = scene(1, 1);
    let asked = scene.ask_for_a_call(Some("gpt"));
    let refused = scene.runtime.block_on(asked).unwrap().unwrap_err();
    assert_eq!(refused.to_string(), "there is no model `gpt` here; there are: echo, parrot");
    scene.calls.set_drain(true).unwrap();
    let asked = scene.ask_for_a_call(None);
    let refused = scene.runtime.block_on(asked).unwrap().unwrap_err();
    assert_eq!(refused, OpenError::Refused(Refusal::Draining));
    assert_eq!(scene.calls.count(), 0);
}

#[test]
fn every_ufrag_is_another() {
    let scene = scene(1, 100);
    let mut seen = std::collections::HashSet::new();
    for _ in 0..50 {
        let asked = scene.ask_for_a_call(None);
        let (opening, reply) = scene.opening(0);
        assert!(seen.insert(opening.credentials.ufrag.as_str().to_owned()));
        reply.send(Ok(())).unwrap();
        scene.runtime.block_on(asked).unwrap().unwrap();
    }
}
