//! The actors answer what the core computes, with the weights they were told to install.

use std::sync::Arc;

use actix::{Actor, Addr};

use super::inputs::{ready_rows, stack, table};
use crate::{
    Embed, Embedder, EmbedderKind, EmbedderModule, EmbeddersError, InstallWeights, PolicyVersion, Preset, Published, StructureEmbedder,
    TacticalEmbedder, Weights, device::Infer, embed_rows,
};

fn published(policy_version: u64, seed: u64) -> Arc<Published> {
    let published = Arc::new(Published::new());
    published.publish(PolicyVersion(policy_version), &stack(Preset::Tiny, seed));
    published
}

async fn answers_as_the_core<M: EmbedderModule<Infer> + Sync + 'static>(module: M, published: &Arc<Published>) {
    let address: Addr<Embedder<M>> = Embedder::new(PolicyVersion(1), published.clone()).unwrap().start();
    let weights = Weights::of(module);
    let mut rows = ready_rows(300);
    rows.reverse();
    rows.push(rows[4]);
    for rows in [&rows[..], &rows[..2], &rows[..1], &[]] {
        let embedded = address.send(Embed { table: table(), rows: rows.into() }).await.unwrap().unwrap();
        assert_eq!(embedded.policy_version, PolicyVersion(1));
        assert_eq!((embedded.dim, embedded.values.len()), (M::KIND.dim(), rows.len() * M::KIND.dim()));
        assert_eq!(embedded.values[..], embed_rows(&weights, &table(), rows).unwrap()[..]);
        assert!(embedded.values.iter().all(|value| value.is_finite()));
    }
}

#[test]
fn an_actor_answers_what_the_core_computes() {
    actix::System::new().block_on(async {
        // Few rows of the first are answered by the actor's own thread, those of the second by others.
        for preset in [Preset::Tiny, Preset::Small] {
            let (published, stack) = (Arc::new(Published::new()), stack(preset, 1));
            published.publish(PolicyVersion(1), &stack);
            answers_as_the_core(stack.structure, &published).await;
            answers_as_the_core(stack.tactical, &published).await;
            answers_as_the_core(stack.regime, &published).await;
            answers_as_the_core(stack.lvn, &published).await;
        }
    });
}

#[test]
fn rows_of_one_structure_bar_share_its_embedding_and_others_do_not() {
    let (table, rows) = (table(), ready_rows(60));
    let stack = stack(Preset::Tiny, 1);
    let structure = embed_rows(&Weights::of(stack.structure), &table, &rows).unwrap();
    let tactical = embed_rows(&Weights::of(stack.tactical), &table, &rows).unwrap();
    let mut shared = 0;
    for index in 1..rows.len() {
        let same_bar = table.structure_row()[rows[index] as usize] == table.structure_row()[rows[index - 1] as usize];
        assert_eq!(structure[index * 64..(index + 1) * 64] == structure[(index - 1) * 64..index * 64], same_bar);
        assert_ne!(tactical[index * 48..(index + 1) * 48], tactical[(index - 1) * 48..index * 48]);
        shared += usize::from(same_bar);
    }
    // Six base bars a structure bar: five of six rows share with the row before.
    assert!((45..=55).contains(&shared), "{shared}");
}

#[test]
fn rows_are_embedded_from_their_own_windows() {
    let (table, rows) = (table(), ready_rows(40));
    let stack = stack(Preset::Tiny, 1);
    let weights = Weights::of(stack.tactical);
    let all = embed_rows(&weights, &table, &rows).unwrap();
    let mut window = vec![0.0; EmbedderKind::Tactical.input_len()];
    table.copy_tactical_window(rows[7] as usize, &mut window);
    let one = crate::embed::embed_inputs(&weights, 1, |_, out| out.copy_from_slice(&window));
    assert!(one.iter().zip(&all[7 * 48..]).all(|(a, b)| (a - b).abs() < 1e-5));
}

#[test]
fn rows_that_cannot_be_embedded_are_named() {
    let table = table();
    let len = table.len() as u32;
    let weights = Weights::of(stack(Preset::Tiny, 1).lvn);
    let found = embed_rows(&weights, &table, &[len - 1, len]).unwrap_err();
    assert_eq!(found.to_string(), format!("row {len} of table {} does not exist, the table has {len} rows", table.content_hash()));
    let found = embed_rows(&weights, &table, &[0]).unwrap_err();
    assert!(matches!(&found, EmbeddersError::RowNotReady { table: hash, row: 0, .. } if hash == table.content_hash()), "{found}");
    actix::System::new().block_on(async {
        let address: Addr<TacticalEmbedder> = Embedder::new(PolicyVersion(1), published(1, 1)).unwrap().start();
        for rows in [vec![0], vec![0; 100]] {
            let found = address.send(Embed { table: table.clone(), rows: rows.into() }).await.unwrap();
            assert!(matches!(found, Err(EmbeddersError::RowNotReady { row: 0, .. })));
        }
    });
}

#[test]
fn weights_are_installed_at_a_version_and_not_before() {
    actix::System::new().block_on(async {
        let published = published(1, 1);
        let address: Addr<StructureEmbedder> = Embedder::new(PolicyVersion(1), published.clone()).unwrap().start();
        let rows: Arc<[u32]> = ready_rows(10).into();
        let embed = || address.send(Embed { table: table(), rows: rows.clone() });
        let old = embed().await.unwrap().unwrap();

        let newer = stack(Preset::Tiny, 2);
        published.publish(PolicyVersion(2), &newer);
        assert_eq!(embed().await.unwrap().unwrap().policy_version, PolicyVersion(1), "published is not installed");

        let refused = address.send(InstallWeights { policy_version: PolicyVersion(3) }).await.unwrap().unwrap_err();
        assert_eq!(refused.to_string(), "the structure embedder was to install weights of policy version 3, published is 2");
        let still = embed().await.unwrap().unwrap();
        assert_eq!((still.policy_version, &still.values), (PolicyVersion(1), &old.values));

        // A request that is under way keeps the weights it arrived under.
        let under_way = embed();
        let install = address.send(InstallWeights { policy_version: PolicyVersion(2) });
        let under_way = under_way.await.unwrap().unwrap();
        install.await.unwrap().unwrap();
        assert_eq!((under_way.policy_version, &under_way.values), (PolicyVersion(1), &old.values));

        let new = embed().await.unwrap().unwrap();
        assert_eq!(new.policy_version, PolicyVersion(2));
        assert_eq!(new.values[..], embed_rows(&Weights::of(newer.structure), &table(), &rows).unwrap()[..]);
        assert_ne!(new.values, old.values);
    });
}

#[test]
fn an_embedder_without_published_weights_does_not_start() {
    assert!(matches!(
        StructureEmbedder::new(PolicyVersion(0), Arc::new(Published::new())).err(),
        Some(EmbeddersError::WeightsAbsent { kind: EmbedderKind::Structure, published: None, .. })
    ));
}
