import Foundation
import Identity
import Mesh
import Store

extension KnownWorkload {
    init(_ known: WorkloadRegistry.Known) {
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        let id = known.workload.id
        guard let body = try? encoder.encode(known.workload) else {
            preconditionFailure("a workload is text and numbers")
        }
        self.init(namespace: id.namespace, name: id.name, spiffeID: "\(known.identity)", body: body)
    }
}

extension WorkloadRegistry.Known {
    /// nil: another version of this program wrote it.
    init?(_ stored: KnownWorkload) {
        guard let workload = try? JSONDecoder().decode(Workload.self, from: stored.body),
            let identity = try? SPIFFEID(stored.spiffeID)
        else { return nil }
        self.init(workload: workload, identity: identity)
    }
}
