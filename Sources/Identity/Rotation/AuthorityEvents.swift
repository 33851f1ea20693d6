import Time

extension AuthorityMachine {
    /// What happened.
    public enum Event: Hashable, Sendable {
        /// Time passed: at ``AuthorityMachine/nextDeadline``, or whenever.
        case tick
        // What was made on request of an action, and is kept on disk.
        case madeRoot(AuthorityID, validity: Range<Timestamp>)
        case madeIntermediate(AuthorityID, under: AuthorityID, validity: Range<Timestamp>)
        case crossSigned(CrossSignature)
        case makingFailed(Making, reason: String)
        /// The key is destroyed.
        case forgotten(AuthorityID)
        // Holders.
        case connected(HolderID)
        case disconnected(HolderID)
        /// It asked for the trust bundle (SDS), after `connected`. From then on steps wait for its ACKs.
        case bundleRequested(HolderID)
        /// ACK of a trust bundle; on a new stream also what the holder says it has.
        case bundleAcknowledged(HolderID, roots: Set<AuthorityID>)
        /// A certificate is about to be handed out, and the journal has it.
        case leafIssued(HolderID, OutstandingLeaf)
        /// ACK of a certificate, or its use: what the holder had before is gone.
        case leafInstalled(HolderID, serial: String)
    }

    /// Something to make; the same value asks for the same thing.
    public enum Making: Hashable, Codable, Sendable {
        case root
        case intermediate(under: AuthorityID)
        /// Certify the key and the name of `root` by `by`.
        case crossSignature(root: AuthorityID, by: AuthorityID)
    }

    /// What is to be done, after the state has been kept.
    public enum Action: Hashable, Sendable {
        /// Make it, keep it on disk, and answer with `made…`, `crossSigned` or `makingFailed`.
        case make(Making, validity: Range<Timestamp>)
        /// These roots are the trust bundle now; every holder gets it.
        case publishBundle(Set<AuthorityID>)
        /// Leaves are signed by this intermediate from now on; with the cross-signed root at the chain's end, or not.
        case issueUnder(AuthorityID, crossSignature: CrossSignature?)
        /// Give connected holders new leaves, where theirs are of these issuers. Those of
        /// ``AuthorityMachine/mayReceiveLeaf(_:)`` only: others get theirs once they have acknowledged the bundle.
        case renewLeaves(of: Set<AuthorityID>)
        /// Destroy the key, and answer with `forgotten`. The certificate may stay in the journal.
        case forget(AuthorityID)
        case warn(Warning)
        case note(Note)
    }

    /// Something that an operator should hear of; it also stands in the status until it is over.
    public enum Warning: Hashable, Sendable {
        case makingFails(Making, reason: String, attempts: Int, retryAt: Timestamp)
        /// In use, and nothing is there to replace it in time.
        case expires(AuthorityID, AuthorityTier, at: Timestamp, needsImport: Bool)
        case expired(AuthorityID, AuthorityTier, at: Timestamp)
        case waitsLong(AuthorityTier, Rotation.Phase, since: Timestamp, holders: Int)
        case leafUnderUnknownIssuer(HolderID, AuthorityID)
    }

    /// Something that happened, for the log and the journal.
    public enum Note: Hashable, Sendable {
        case began(AuthorityTier, Rotation.Reason)
        case reached(AuthorityTier, Rotation.Phase)
        /// A step went on without these many holders.
        case forced(AuthorityTier, Rotation.Phase, without: Int)
        case finished(AuthorityTier, AuthorityID)
        case aborted(AuthorityTier, Rotation.Phase)
    }
}
