import Certificates
import GRPC
import Identity
import Time

// Certificates for those who keep their keys.
extension CertificateAuthority {
    func sign(_ order: CertificateOrder, now: Timestamp) {
        let holder = order.holder
        if let skew = order.skew { note(skew, of: holder, now: now) }
        if let node = order.node { follow(HolderID(node: node, identity: order.identity), for: holder) }
        // Who takes its trust by SDS acknowledges it there. Others, such as Istio's agents, trust the last certificate
        // of the answer alone.
        let last = machine.rootForSingleRootHolders
        let isOnStream = order.node.map { served[HolderID(node: $0, identity: order.identity)] != nil } ?? false
        do {
            let made = try sign(
                for: order.identity, holder: holder, key: order.key, wanted: order.wanted, reason: "csr",
                roots: isOnStream ? nil : Set(last.map { [$0] } ?? []), now: now)
            var chain = [made.certificate.pem]
            if let rest = issuing?.chain, !rest.isEmpty { chain.append(rest) }
            if let last, let root = kept[last]?.certificate { chain.append(root.pem) }
            let answer = CertificateService.answer(chain)
            let (isNode, serial) = (order.node != nil, made.certificate.serial)
            deliveries.append(
                Delivery(
                    deliver: { [self] in
                        order.call.reply(answer)
                        // A node has one certificate at a time. If the answer is lost it asks again within seconds.
                        if isNode { events.append(.leafInstalled(holder, serial: serial)) }
                    }, fail: { order.call.finish($0) }))
        } catch let error as CertificateError {
            order.call.finish(GRPCStatus(.internalError, "\(error); \(error.hint)"))
        } catch {
            order.call.finish(GRPCStatus(.unavailable, "\(error)"))
        }
    }

    private func note(_ skew: ClockSkew, of holder: HolderID, now: Timestamp) {
        guard let change = clocks.heard(holder, skew, now: now) else { return }
        switch change {
        case .strayed:
            logger.warning(
                "the clock of a workload is off; set it before it takes certificates for past or not yet valid",
                metadata: ["holder": "\(holder)", "skew": "\(words(skew))"])
        case .returned: logger.notice("the clock of a workload is right again", metadata: ["holder": "\(holder)"])
        }
    }

    /// A node that keeps its key and has a stream: what the stream has said before goes for the key too.
    private func follow(_ stream: HolderID, for holder: HolderID) {
        guard machine.record(of: holder) == nil, let served = served[stream] else { return }
        events.append(.connected(holder))
        if let version = served.acknowledgedBundle,
            let roots = bundleVersions.last(where: { $0.version == version })?.roots
        {
            events.append(.bundleAcknowledged(holder, roots: roots))
        }
    }
}
