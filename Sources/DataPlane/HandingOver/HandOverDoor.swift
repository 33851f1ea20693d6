import Glibc
import Logging
import Reactor

/// Where a proxy is found by the one that is to take its place; see ``Legacy``.
final class HandOverDoor: Sendable {
    /// What a proxy gives to another that asks, or why it does not.
    enum Offer: Sendable {
        case refused(String)
        case given([ListeningSocket], LegacyIdentity)
    }

    private let socket: ListeningSocket
    private let jobs: JobQueue
    private let logger: Logger

    /// Opens the door. What is asked goes to the proxy, by `jobs`.
    /// - Throws: where the socket cannot be opened.
    init(in directory: String, jobs: JobQueue, logger: Logger) throws(ReactorError) {
        socket = try ListeningSocket(.unix(path: Legacy.path(in: directory)))
        (self.jobs, self.logger) = (jobs, logger)
        let (socket, jobs) = (socket, jobs)
        DetachedThread.run {
            while let channel = DescriptorChannel.accept(on: socket) {
                let isOver = Self.answer(channel, jobs, logger)
                if isOver { return }
            }
        }
    }

    /// Nobody is answered any more, and the name is free.
    func close() { socket.shutDown() }

    deinit { close() }

    /// - Returns: whether the place was taken.
    private static func answer(_ channel: DescriptorChannel, _ jobs: JobQueue, _ logger: Logger) -> Bool {
        guard channel.peer?.user == geteuid() else { return false }
        do throws(DescriptorChannel.Problem) {
            let greeting = String(decoding: try channel.receive(within: Legacy.patience).message, as: UTF8.self)
            guard greeting.hasPrefix(Legacy.Word.greeting) else { return false }
            let nodeID = String(greeting.dropFirst(Legacy.Word.greeting.count))
            switch ask(jobs, { $0.offer(to: nodeID) }) {
            case nil: return false
            case .refused(let reason):
                logger.warning("another proxy asks for the place of this one", metadata: ["refused": "\(reason)"])
                try channel.send(Array(Legacy.Word.refuses(reason).utf8))
                return false
            case .given(let sockets, let identity):
                try give(sockets, identity, over: channel)
            }
            logger.info("another proxy begins to take the place of this one")
            // It has to hear from the control plane first.
            let word = try channel.receive(within: nil).message
            guard word == Array(Legacy.Word.serving.utf8), ask(jobs, { $0.leave() }) != nil else { return false }
            try channel.send(Array(Legacy.Word.yours.utf8))
            return true
        } catch {
            logger.notice("another proxy does not take the place of this one", metadata: ["reason": "\(error)"])
            return false
        }
    }

    private static func give(
        _ sockets: [ListeningSocket], _ identity: LegacyIdentity, over channel: DescriptorChannel
    ) throws(DescriptorChannel.Problem) {
        try channel.send(Array(Legacy.Word.gives(sockets.count).utf8))
        for start in stride(from: 0, to: sockets.count, by: DescriptorChannel.mostDescriptors) {
            let part = sockets[start..<min(start + DescriptorChannel.mostDescriptors, sockets.count)]
            try channel.send([], descriptors: part.map(\.descriptor))
        }
        try identity.send(over: channel)
    }

    /// - Returns: nil: the proxy is ending.
    private static func ask<Answer: Sendable>(
        _ jobs: JobQueue, _ question: @escaping @Sendable (Proxy) -> Answer
    ) -> Answer? {
        let answer = Answers<Answer>()
        guard jobs.add({ answer.give(question($0)) }) else { return nil }
        return answer.wait()
    }
}
