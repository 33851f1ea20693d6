@testable import XDS

// What must hold once nothing has changed for a long time.

extension Simulation {
    /// Compares what each client holds with its part of the snapshot, and the status with both.
    func judgeRest() {
        guard violations.isEmpty, let snapshot = cache.snapshot(of: "default") else { return }
        for client in clients {
            guard let number = current[client.number] else {
                violation("client \(client.number) is not connected")
                continue
            }
            judgeHoldings(client, snapshot)
            judgeStatus(client, connections[number])
            if !connections[number].probe.outstanding.filter({ $0.key != .runtime }).isEmpty {
                violation("client \(client.number): \(connections[number].probe.outstanding) wait for an ACK")
            }
            if !connections[number].probe.warming.isEmpty {
                violation("client \(client.number): clusters wait for \(connections[number].probe.warming.sorted())")
            }
        }
        if Subscription.tableCount > 1 << 16 { violation("the table of subscriptions grows") }
    }

    private func judgeHoldings(_ client: ModelClient, _ snapshot: Snapshot) {
        for (type, want) in client.wants.sorted(by: { $0.key < $1.key }) {
            let holds = client.holds[type] ?? [:]
            for resource in snapshot[type].sortedResources() where want.covers(resource.name) {
                if let error = resource.error {
                    if client.errors[type]?[resource.name] != error.message {
                        violation("client \(client.number) was not told that \(resource.name) failed")
                    }
                    continue
                }
                let body = String(decoding: resource.body, as: UTF8.self)
                if client.refuses(resource.name, body) { continue }
                if holds[resource.name]?.body != body {
                    let held = holds[resource.name]?.body ?? "nothing"
                    violation("client \(client.number) holds \(held) for \(type) \(resource.name), not \(body)")
                }
            }
            for name in holds.keys.sorted() where snapshot[type].resource(named: name) == nil {
                // State of the world has no message for what goes, but for clusters and listeners.
                if client.isDelta || type.isFullState {
                    violation("client \(client.number) still holds \(type) \(name), which is gone")
                }
            }
        }
    }

    private func judgeStatus(_ client: ModelClient, _ connection: Connection) {
        let status: StreamStatus
        let shown = cache.snapshot(of: "default")
        switch connection.machine {
        case .delta(let stream): status = stream.status(in: "default", showing: shown)
        case .stateOfTheWorld(let stream): status = stream.status(in: "default", showing: shown)
        }
        for type in status.types {
            let (sent, acknowledged) = (
                connection.probe.sentVersions[type.type], connection.probe.acknowledgedVersions[type.type]
            )
            if let sent, type.sentVersion != sent {
                violation("status of client \(client.number) says sent \(type.sentVersion ?? "nothing"), not \(sent)")
            }
            if let acknowledged, type.acknowledgedVersion != acknowledged {
                violation("status of client \(client.number) says \(type.type) acked another version")
            }
            if type.isBehind, type.type != .runtime {
                violation("status of client \(client.number) says that \(type.type) has not come to it")
            }
            let lacks = (cache.snapshot(of: "default")?[type.type].sortedResources() ?? []).contains { resource in
                guard resource.error == nil, client.wants[type.type]?.covers(resource.name) ?? false else {
                    return false
                }
                return client.refuses(resource.name, String(decoding: resource.body, as: UTF8.self))
            }
            if lacks && type.rejection == nil {
                violation("status of client \(client.number) hides a NACK of \(type.type)")
            }
        }
    }
}
