//! The incidents that are kept one by one: all up to a limit, and beyond it the first and the worst of each kind.
//!
//! A kind is one cause, one database, one statement of the victim and one statement of the blocker. The worst incident and the longest wait of each cause
//! in each database are always kept.
#![forbid(unsafe_code)]

use crate::analysis::causes::cause::Cause;
use crate::analysis::incidents::incident::Incident;
use crate::analysis::locks::state::ConnId;
use crate::analysis::order::instants::Instant;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// How much an incident hurts: whether the application saw an error, then the nanoseconds waited. An error outweighs any wait.
type Weight = (bool, u64);

type Kind = (Cause, Option<u32>, u64, u64);

struct Item {
    incident: Incident,
    weight: Weight,
    kind: Kind,
}

impl Item {
    /// The key of its order in time.
    fn place(&self) -> (Instant, ConnId, Option<u32>) {
        (self.incident.first, self.incident.who, self.incident.wait)
    }
}

/// The incidents that are kept.
pub(crate) struct KeptIncidents {
    items: Vec<Item>,
    keep: usize,
}

impl KeptIncidents {
    /// An empty list that keeps this many incidents.
    pub(crate) fn new(keep: usize) -> KeptIncidents {
        KeptIncidents { items: Vec::new(), keep }
    }

    /// Adds an incident. `gave_up`: the application saw an error. `blocker` is the statement of the connection that blocked it most.
    pub(crate) fn add(&mut self, gave_up: bool, waited_ns: u64, blocker: u64, incident: Incident) {
        let kind = (incident.cause, incident.db, incident.sql, blocker);
        self.items.push(Item { incident, weight: (gave_up, waited_ns), kind });
        if self.items.len() / 2 > self.keep.max(64) {
            self.thin_out();
        }
    }

    /// The incidents that are kept so far.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Incident> {
        self.items.iter().map(|item| &item.incident)
    }

    /// Keeps the first and the worst of each kind, as many of each as there is room for. An incident dropped here would also be dropped at any
    /// later time, because the number of incidents ranked before it only grows.
    #[cold]
    fn thin_out(&mut self) {
        let items = &mut self.items;
        let mut ranks = vec![usize::MAX; items.len()];
        let mut order: Vec<usize> = (0..items.len()).collect();
        let mut rank = |items: &[Item], order: &[usize]| {
            let mut run = 0;
            for (at, &index) in order.iter().enumerate() {
                run = if at > 0 && items[order[at - 1]].kind == items[index].kind { run + 1 } else { 1 };
                ranks[index] = ranks[index].min(run);
            }
        };
        order.sort_by_key(|&index| (items[index].kind, items[index].place()));
        rank(items, &order);
        order.sort_by_key(|&index| (items[index].kind, Reverse(items[index].weight), items[index].place()));
        rank(items, &order);
        // The worst incident of each cause in each database, and the one that waited longest.
        let mut best: BTreeMap<(Cause, Option<u32>, bool), usize> = BTreeMap::new();
        let value = |item: &Item, by_length: bool| (item.weight.0 && !by_length, item.weight.1, Reverse(item.place()));
        for (index, item) in items.iter().enumerate() {
            for by_length in [false, true] {
                let known = best.entry((item.kind.0, item.kind.1, by_length)).or_insert(index);
                if value(item, by_length) > value(&items[*known], by_length) {
                    *known = index;
                }
            }
        }
        best.into_values().for_each(|index| ranks[index] = 0);
        order.sort_by_key(|&index| (ranks[index], Reverse(items[index].weight), items[index].place()));
        let mut stays = vec![false; items.len()];
        let needed = order.iter().filter(|&&index| ranks[index] == 0).count();
        order.iter().take(self.keep.max(needed)).for_each(|&index| stays[index] = true);
        let mut stays = stays.into_iter();
        items.retain(|_| stays.next() == Some(true));
    }

    /// The kept incidents, in time order.
    pub(crate) fn finish(mut self) -> Vec<Incident> {
        if self.items.len() > self.keep {
            self.thin_out();
        }
        self.items.sort_by_key(Item::place);
        self.items.into_iter().map(|item| item.incident).collect()
    }
}
