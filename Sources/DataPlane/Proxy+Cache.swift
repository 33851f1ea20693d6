import Logging
import XDS

/// The resources of the last run, for a start without a control plane.
extension Proxy {
    func startFromCache(because reason: String) {
        guard let cache, !hasTriedCache else { return }
        hasTriedCache = true
        let entries = cache.read().filter { store.lacks($0.type, $0.resource.name) }
        guard !entries.isEmpty else { return }
        logger.warning(
            "the control plane is away; starting with the resources of the last run",
            metadata: ["reason": "\(reason)", "resources": "\(entries.count)"])
        for entry in entries {
            // One of a newer or older version of this program: what cannot be used any more is left out.
            try? take(entry.type, entry.resource, isCached: true)
        }
        settleSoon()
    }

    /// Writes the last good resources, at most every five seconds.
    func keepInCache() {
        guard let cache, isCacheDue, phase == .live, let runner else { return }
        isCacheDue = false
        runner.schedule(after: .seconds(5)) { [unowned self] in
            guard let state = self.runner?.state else { return }
            let entries = ResourceCache.types.flatMap { type in
                state.resources(of: type).map { ResourceCache.Entry(type: type, resource: $0) }
            }
            if let problem = cache.write(entries) {
                logger.error(
                    "the cache cannot be written", metadata: ["path": "\(cache.path)", "reason": "\(problem)"])
            }
        }
    }
}
