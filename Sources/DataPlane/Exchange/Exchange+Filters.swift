import Forwarding
import HTTP
import HTTP1
import Reactor

/// How far a request has come in the chain of filters.
struct FilterProgress {
    var next = 0
    /// A filter waits for the whole body, or for what fits.
    var waitsForBody = false
}

extension Exchange {
    func runFilters() {
        actOnRoute()
    }

    func filtersAreFull() {
        if !requestIsPaused { pauseRequest() }
    }

    func filtersGotWholeRequest() {}

    func releaseFilters() {}

    func changeResponse(_ head: inout HeaderList, isLocal: Bool) {}

    func mirror(_ settings: Route.Forwarded, _ route: Route) {}
}
