//! Uploads into a batch: by the rules that hold in the tree, and seen by nobody until its commit.

use tracing::info;

use super::decide::{Decision, decide};
use super::{Offer, Outcome, ReceiveError, Received, look};
use crate::incoming::Checked;
use crate::repository::batches::{Batch, BatchId};
use crate::repository::{Handle, lock};
use crate::tree::FileStamp;

impl Handle {
    /// Puts a complete and valid upload into its batch, by the rules that hold in the tree.
    pub(super) fn hold_back(
        &self,
        id: &BatchId,
        offer: &Offer,
        checked: &mut Checked,
    ) -> Result<Received, ReceiveError> {
        let location = &offer.location;
        loop {
            let batch = self.open_batch(id, &offer.holder).map_err(|error| error.of(location))?;
            let mut batch = lock(&batch);
            if batch.is_over() {
                // It was committed while this waited: what follows begins another one.
                continue;
            }
            let received = self.hold_in(&mut batch, id, offer, checked);
            if received.is_err() {
                self.give_up_empty(id, &mut batch);
            }
            return received;
        }
    }

    fn hold_in(
        &self,
        batch: &mut Batch,
        id: &BatchId,
        offer: &Offer,
        checked: &mut Checked,
    ) -> Result<Received, ReceiveError> {
        let location = &offer.location;
        if !batch.has_room_for(location) {
            return Err(ReceiveError::BatchFull);
        }
        let package = checked.package().map(|(nevra, pkgid)| (nevra.clone(), pkgid.clone()));
        let nevra = package.as_ref().map(|(nevra, _)| nevra.clone());
        let _held = self.shared.receiving.hold(location, nevra.as_ref());
        // What the commit would refuse is refused now, while the sender listens.
        let here = if offer.clears.is_some() { None } else { look(checked.root(), location)? };
        self.may_replace(offer, here.as_ref(), checked)?;
        self.decide(offer, here, checked.package())?;
        let mut outcome = Outcome::New;
        if let Some((nevra, pkgid)) = &package {
            let (here, elsewhere) = batch.known(location, nevra);
            let stamp = FileStamp { inode: 0, size: 0, mtime_ns: 0, ctime_ns: 0 };
            let here = here.as_ref().map(|pkgid| (pkgid, stamp));
            match decide(self.config().overwrite, location, (nevra, pkgid), here, &elsewhere)? {
                Decision::Same(_) => outcome = Outcome::Same,
                Decision::New | Decision::Replace => {}
            }
        }
        let (stamp, size) = checked.stamp().map(|stamp| (stamp, stamp.size))?;
        if outcome != Outcome::Same {
            let vouched = checked.vouched().to_vec();
            checked.hold(self.config(), batch.place())?;
            if batch.stored(location.clone(), size, package, vouched) {
                outcome = Outcome::Replaced;
            }
        }
        let (repo, name, batch) = (&self.config().name, location.as_str(), id.as_str());
        info!(repo.name = %repo, location = %name, batch, by = offer.by.name(),
                  "received {name:?} for {repo}, held back in the batch {batch}{}", offer.by.in_a_sentence());
        Ok(Received { outcome, stamp, nevra, ticket: None, batch: Some(id.clone()) })
    }
}
