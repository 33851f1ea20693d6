import EnvoyAPI

/// Runs `body`; an error of it is told as one of `field`.
@inline(__always)
func at<Result>(
    _ field: @autoclosure () -> String, _ body: () throws(ConfigurationError) -> Result
) throws(ConfigurationError) -> Result {
    do {
        return try body()
    } catch {
        throw error.under(field())
    }
}

extension Repeated {
    /// What `body` makes of each message; an error of it is told as one of `field[index]`.
    func read<Result>(
        _ field: String, _ body: (UnsafeMutablePointer<Message>) throws(ConfigurationError) -> Result
    ) throws(ConfigurationError) -> [Result] {
        var results: [Result] = []
        results.reserveCapacity(count)
        for (index, message) in enumerated() {
            results.append(try at("\(field)[\(index)]") { () throws(ConfigurationError) in try body(message) })
        }
        return results
    }
}

extension RepeatedStrings {
    /// What `body` makes of each text; an error of it is told as one of `field[index]`.
    func read<Result>(
        _ field: String, _ body: (String) throws(ConfigurationError) -> Result
    ) throws(ConfigurationError) -> [Result] {
        var results: [Result] = []
        for (index, text) in enumerated() {
            results.append(try at("\(field)[\(index)]") { () throws(ConfigurationError) in try body(text) })
        }
        return results
    }
}

extension Optional {
    /// What `body` makes of the message that is there; an error of it is told as one of `field`.
    func read<Message, Result>(
        _ field: String, _ body: (Message) throws(ConfigurationError) -> Result
    ) throws(ConfigurationError) -> Result? where Wrapped == UnsafeMutablePointer<Message> {
        guard let message = self else { return nil }
        return try at(field) { () throws(ConfigurationError) in try body(message.pointee) }
    }

    /// The message that has to be there.
    func required<Message>(_ field: String) throws(ConfigurationError) -> Message
    where Wrapped == UnsafeMutablePointer<Message> {
        guard let message = self else { throw .invalid(path: field, message: "missing") }
        return message.pointee
    }
}
