//! Every case there is, by what goes wrong. A folder of tables: a case is added to the table of its group.

mod bodies;
mod books;
pub(crate) mod bounds;
mod clock;
mod disk;
mod draining;
mod framing;
mod headers;
pub(crate) mod kill_loop;
mod leaving;
mod process;
mod reload;
mod sse;
mod store;
mod targets;
pub(crate) mod trust;
mod upstream_faults;

use crate::case::Case;

pub(crate) fn all() -> Vec<Case> {
    let all = [
        framing::cases(),
        targets::cases(),
        headers::cases(),
        bodies::cases(),
        sse::cases(),
        upstream_faults::cases(),
        leaving::cases(),
        draining::cases(),
        process::cases(),
        reload::cases(),
        store::cases(),
        disk::cases(),
        books::cases(),
        clock::cases(),
        trust::cases(),
        bounds::cases(),
        kill_loop::cases(),
    ]
    .concat();
    let mut names: Vec<_> = all.iter().map(|case| &case.name).collect();
    names.sort();
    let twice = names.windows(2).find(|pair| pair[0] == pair[1]);
    assert!(twice.is_none(), "a name that is not unique: {twice:?}");
    all
}
