import Forwarding
import HTTP
import HTTP1

/// A request that the proxy itself makes to a cluster: picks a host, counts at the cluster's breakers, and lets go of
/// both when it is over.
class WorkerRequest: UpstreamUser {
    final let worker: Worker
    final let cluster: WorkerCluster
    /// With pseudo-header fields.
    final let head: HeaderList
    private(set) final var host: UpstreamHost?
    private var holdsRequest = false
    private var wentWell = false

    init(_ worker: Worker, _ cluster: WorkerCluster, _ head: HeaderList) {
        (self.worker, self.cluster, self.head) = (worker, cluster, head)
    }

    /// Picks a host and asks for a connection: `upstreamReady` or `couldNot` follows.
    final func begin() {
        guard cluster.state.tryAcquire(.requests) else { return couldNot(.overflow) }
        holdsRequest = true
        guard let host = cluster.pick(PickQuestion()) else { return couldNot(nil) }
        self.host = host
        cluster.state.begin(host)
        let asked = cluster.configuration.http.serverName(head, received: head)
        switch cluster.pool(host, isHTTP2: head.isGRPC, asked: asked).acquire(self) {
        case .ready: upstreamReady()
        case .waits: break
        case .refused(let failure): couldNot(failure)
        }
    }

    /// There is no response, or no more of it. Nil: no host can be asked.
    func couldNot(_ failure: UpstreamFailure?) { preconditionFailure() }

    /// It is over: what it holds is given back.
    final func letGo() {
        waitingIn?.forget(self)
        upstream?.cancel(self)
        upstream = nil
        if holdsRequest {
            holdsRequest = false
            cluster.state.release(.requests)
            if let host { cluster.state.end(host, isSuccess: wentWell) }
        }
        host = nil
    }

    override func upstreamHead(_ head: consuming HeaderList, _ shape: HTTP1Head) {
        wentWell = shape.status < 500
        if let host { cluster.responded(host, shape.status, head) }
    }

    override func upstreamFailed(_ failure: UpstreamFailure) {
        if let host { cluster.failed(host, failure) }
        couldNot(failure)
    }
}
