import EnvoyAPI
import Protobuf
import Time

/// A journal may be long.
private let authorityLimits = DecodingLimits(depth: 100, elements: 4_000_000, memory: 512 << 20)

extension AuthorityReport {
    /// An `AuthorityStatusRequest`.
    public static var request: [UInt8] { [] }

    public init(decoding bytes: [UInt8]) throws(ProtobufError) {
        let arena = Arena()
        let response = try arena.decode(ControlAuthorityStatusResponse.self, from: bytes, limits: authorityLimits)
            .pointee
        self.init(trustDomain: response.trust_domain.string, now: Timestamp(nanoseconds: response.now))
        authorities = response.authorities_list.map { Authority($0.pointee) }
        timeline = response.timeline_list.map {
            TimelineEvent(at: Timestamp(nanoseconds: $0.pointee.at), what: $0.pointee.what.string)
        }
        rotations = response.rotations_list.map { Rotation($0.pointee) }
        problems = Array(response.problems_list)
        outstandingLeaves = Int(clamping: response.outstanding_leaves)
        earliestLeafExpiry = Timestamp(wire: response.earliest_leaf_expiry)
        serverExpiry = Timestamp(wire: response.server_expiry)
        federatedBundles = response.federated_bundles_list.map { FederatedBundle($0.pointee) }
        clockSkews = Array(response.clock_skews_list)
    }

    public func encoded() -> [UInt8] {
        let arena = Arena()
        let message = arena.make(ControlAuthorityStatusResponse.self) { response in
            response.trust_domain = arena(trustDomain.withoutNUL)
            response.now = now.nanoseconds
            (response.n_authorities, response.authorities) = arena.list(authorities.map { $0.message(in: arena) })
            (response.n_timeline, response.timeline) = arena.list(
                timeline.map { event in
                    arena.make(ControlTimelineEvent.self) {
                        $0.at = event.at.nanoseconds
                        $0.what = arena(event.what.withoutNUL)
                    }
                })
            (response.n_rotations, response.rotations) = arena.list(rotations.map { $0.message(in: arena) })
            (response.n_problems, response.problems) = arena.strings(problems.map(\.withoutNUL))
            response.outstanding_leaves = UInt64(clamping: outstandingLeaves)
            response.earliest_leaf_expiry = earliestLeafExpiry.wire
            response.server_expiry = serverExpiry.wire
            (response.n_federated_bundles, response.federated_bundles) = arena.list(
                federatedBundles.map { $0.message(in: arena) })
            (response.n_clock_skews, response.clock_skews) = arena.strings(clockSkews.map(\.withoutNUL))
        }
        return encode(message)
    }
}

extension AuthorityReport.Authority {
    fileprivate init(_ message: ControlAuthorityCertificate) {
        self.init(
            id: message.id.string, tier: message.tier.string, issuer: message.issuer_id.string,
            state: message.state.string, subject: message.subject.string,
            validity: .init(wire: message.not_before, message.not_after), hasKey: message.has_key != 0,
            outstandingLeaves: Int(clamping: message.outstanding_leaves))
    }

    fileprivate func message(in arena: Arena) -> UnsafeMutablePointer<ControlAuthorityCertificate> {
        arena.make {
            $0.id = arena(id.withoutNUL)
            $0.tier = arena(tier.withoutNUL)
            $0.issuer_id = arena(issuer.withoutNUL)
            $0.state = arena(state.withoutNUL)
            $0.subject = arena(subject.withoutNUL)
            $0.not_before = validity.lowerBound.nanoseconds
            $0.not_after = validity.upperBound.nanoseconds
            $0.set(has_key: hasKey)
            $0.outstanding_leaves = UInt64(clamping: outstandingLeaves)
        }
    }
}

extension AuthorityReport.Rotation {
    fileprivate init(_ message: ControlRotationStatus) {
        self.init(
            tier: message.tier.string, phase: message.phase.string,
            phaseSince: Timestamp(nanoseconds: message.phase_since),
            awaited: message.awaited_list.map { AuthorityReport.AwaitedHolder($0.pointee) },
            awaitedCount: Int(clamping: message.awaited_count), forcedAt: Timestamp(wire: message.forced_at))
    }

    fileprivate func message(in arena: Arena) -> UnsafeMutablePointer<ControlRotationStatus> {
        arena.make { status in
            status.tier = arena(tier.withoutNUL)
            status.phase = arena(phase.withoutNUL)
            status.phase_since = phaseSince.nanoseconds
            (status.n_awaited, status.awaited) = arena.list(
                awaited.prefix(Self.awaitedLimit).map { $0.message(in: arena) })
            status.awaited_count = UInt64(clamping: max(awaitedCount, awaited.count))
            status.forced_at = forcedAt.wire
        }
    }

    /// The rotations of a `RotateResponse`.
    public static func list(decoding bytes: [UInt8]) throws(ProtobufError) -> [AuthorityReport.Rotation] {
        let arena = Arena()
        let response = try arena.decode(ControlRotateResponse.self, from: bytes, limits: authorityLimits).pointee
        return response.rotations_list.map { AuthorityReport.Rotation($0.pointee) }
    }

    static func encode(_ list: [AuthorityReport.Rotation]) -> [UInt8] {
        let arena = Arena()
        return Protobuf.encode(
            arena.make(ControlRotateResponse.self) { response in
                (response.n_rotations, response.rotations) = arena.list(list.map { $0.message(in: arena) })
            })
    }
}

extension AuthorityReport.AwaitedHolder {
    fileprivate init(_ message: ControlAwaitedHolder) {
        self.init(
            nodeID: message.node_id.string, spiffeID: message.spiffe_id.string, isConnected: message.connected != 0,
            holds: message.holds.string, until: Timestamp(wire: message.until))
    }

    fileprivate func message(in arena: Arena) -> UnsafeMutablePointer<ControlAwaitedHolder> {
        arena.make {
            $0.node_id = arena(nodeID.withoutNUL)
            $0.spiffe_id = arena(spiffeID.withoutNUL)
            $0.set(connected: isConnected)
            $0.holds = arena(holds.withoutNUL)
            $0.until = until.wire
        }
    }
}

extension AuthorityReport.FederatedBundle {
    fileprivate init(_ message: ControlFederatedBundle) {
        self.init(
            trustDomain: message.trust_domain.string, source: message.source.string, sequence: message.sequence,
            refreshedAt: Timestamp(wire: message.refreshed_at),
            nextRefreshAt: Timestamp(wire: message.next_refresh_at), x509Authorities: Int(message.x509_authorities),
            jwtAuthorities: Int(message.jwt_authorities), problem: message.problem.string)
    }

    fileprivate func message(in arena: Arena) -> UnsafeMutablePointer<ControlFederatedBundle> {
        arena.make {
            $0.trust_domain = arena(trustDomain.withoutNUL)
            $0.source = arena(source.withoutNUL)
            $0.sequence = sequence
            $0.refreshed_at = refreshedAt.wire
            $0.next_refresh_at = nextRefreshAt.wire
            $0.x509_authorities = UInt32(clamping: x509Authorities)
            $0.jwt_authorities = UInt32(clamping: jwtAuthorities)
            $0.problem = arena(problem.withoutNUL)
        }
    }
}

extension IssuedEntry {
    /// The lines of a `JournalResponse`.
    public static func list(decoding bytes: [UInt8]) throws(ProtobufError) -> [IssuedEntry] {
        let arena = Arena()
        let response = try arena.decode(ControlJournalResponse.self, from: bytes, limits: authorityLimits).pointee
        return response.issued_list.map { issued in
            let message = issued.pointee
            return IssuedEntry(
                serial: message.serial.string, spiffeID: message.spiffe_id.string,
                validity: .init(wire: message.not_before, message.not_after), authority: message.authority_id.string,
                holder: message.holder.string, reason: message.reason.string,
                issuedAt: Timestamp(nanoseconds: message.issued_at))
        }
    }

    static func encode(_ list: [IssuedEntry]) -> [UInt8] {
        let arena = Arena()
        return Protobuf.encode(
            arena.make(ControlJournalResponse.self) { response in
                (response.n_issued, response.issued) = arena.list(
                    list.map { entry in
                        arena.make(ControlIssuedCertificate.self) {
                            $0.serial = arena(entry.serial.withoutNUL)
                            $0.spiffe_id = arena(entry.spiffeID.withoutNUL)
                            $0.not_before = entry.validity.lowerBound.nanoseconds
                            $0.not_after = entry.validity.upperBound.nanoseconds
                            $0.authority_id = arena(entry.authority.withoutNUL)
                            $0.holder = arena(entry.holder.withoutNUL)
                            $0.reason = arena(entry.reason.withoutNUL)
                            $0.issued_at = entry.issuedAt.nanoseconds
                        }
                    })
            })
    }
}

extension Timestamp {
    /// 0: none.
    fileprivate init?(wire: Int64) {
        guard wire != 0 else { return nil }
        self.init(nanoseconds: wire)
    }
}

extension Timestamp? {
    fileprivate var wire: Int64 { self?.nanoseconds ?? 0 }
}

extension Range<Timestamp> {
    /// One that is upside down is empty: it comes from outside.
    fileprivate init(wire from: Int64, _ to: Int64) {
        self = Timestamp(nanoseconds: from)..<Timestamp(nanoseconds: Swift.max(from, to))
    }
}
