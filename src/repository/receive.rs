//! An upload: reserve the name, stage, check, reserve the NEVRA, apply the overwrite rule, commit.

/// Names and NEVRAs that uploads in flight are about to take.
#[derive(Default)]
pub struct Reservations {}
