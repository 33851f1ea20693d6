import Reactor

// One proxy takes the place of another, and gives its own to the next; see ``Legacy``.
extension Proxy {
    /// What another proxy is given that asks for this one's place.
    func offer(to nodeID: String) -> HandOverDoor.Offer {
        guard nodeID == configuration.node.id else {
            return .refused("it is \(nodeID), this is \(configuration.node.id)")
        }
        guard phase != .draining, !hasDrainedListeners else { return .refused("this one is draining") }
        let sockets = (carrier?.listeningSockets ?? []) + (admin?.sockets ?? [])
        return .given(sockets, LegacyIdentity(certificate, anchors: anchors))
    }

    /// This proxy serves: the one before it is told so.
    func takePlace() {
        guard let legacy else { return }
        self.legacy = nil
        DetachedThread.run { [jobs] in
            legacy.claim()
            jobs.add { $0.tookPlace(legacy) }
        }
    }

    private func tookPlace(_ legacy: Legacy) {
        logger.notice("in the place of the proxy before this one", metadata: ["sockets": "\(legacy.sockets.count)"])
        carrier?.forgetInherited()
        do {
            admin = try openAdmin(inherited: legacy.sockets)
        } catch {
            logger.error("the admin interface cannot be opened", metadata: ["reason": "\(error)"])
        }
        openDoor()
    }

    /// From now on another proxy can ask for this one's place.
    func openDoor() {
        guard let directory = configuration.handOverDirectory, phase != .draining else { return }
        do throws(ReactorError) {
            door = try HandOverDoor(in: directory, jobs: jobs, logger: logger)
        } catch {
            logger.error("no other proxy can take the place of this one", metadata: ["reason": "\(error)"])
        }
    }

    /// Another proxy has this one's place: lets connections finish and ends. Clients have time to hear that they should
    /// come by another connection.
    func leave() {
        guard phase != .draining else { return }
        for socket in admin?.sockets ?? [] { socket.leaveFile() }
        carrier?.leaveSockets()
        // Its answers are out in a moment, and the ports wait for the other proxy.
        admin?.stop()
        admin = nil
        finish(notice: configuration.noticeTime)
    }

    /// - Parameter inherited: sockets of the proxy before this one.
    func openAdmin(inherited: [ListeningSocket] = []) throws -> AdminServer? {
        var ports: [(address: SocketAddress, door: AdminDoor)] = []
        if let address = configuration.admin { ports.append((address, .admin)) }
        if let address = configuration.metrics { ports.append((address, .metrics)) }
        guard !ports.isEmpty else { return nil }
        return try AdminServer(ports, inherited: inherited) { [jobs] request, reply in
            if !jobs.add({ $0.answer(request, reply) }) { reply(AdminResponse("the proxy is ending\n", status: 503)) }
        }
    }
}
