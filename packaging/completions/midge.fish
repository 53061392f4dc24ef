# Completion for midge, mosquitto and mosquitto_passwd in fish.

set -l broker 'not __fish_seen_subcommand_from check export passwd'
complete -c midge -f -n __fish_use_subcommand -a check -d 'Explain a configuration'
complete -c midge -f -n __fish_use_subcommand -a export -d 'Write what is stored for mosquitto'
complete -c midge -f -n __fish_use_subcommand -a passwd -d 'Make and change password files'
complete -c midge -n 'not __fish_seen_subcommand_from passwd' -s c -l config-file -r -F -d 'Configuration file'
complete -c midge -n $broker -s d -l daemon -d 'Run in the background'
complete -c midge -n $broker -s p -l port -x -d 'Listen on this port'
complete -c midge -n $broker -s v -l verbose -d 'Log everything'
complete -c midge -n $broker -s q -l quiet -d 'Log nothing'
complete -c midge -n $broker -l test-config -d 'Say whether the configuration can be taken'
complete -c midge -n $broker -l tls-keylog -r -F -d 'Write the keys of TLS connections'
complete -c midge -n $broker -l options -d 'List the options of configuration files'
complete -c midge -n $broker -l manual -x -a 'midge.8 midge.conf.5 mosquitto_passwd.1' -d 'Print a manual page'
complete -c midge -n $broker -l version -d 'Show the version'
complete -c midge -s h -l help -d 'Show help'
complete -c midge -n '__fish_seen_subcommand_from check' -l json -d 'Print one JSON object'

complete -c mosquitto -w midge

for tool in 'midge -n "__fish_seen_subcommand_from passwd"' mosquitto_passwd
    eval "complete -c $tool -s b -d 'Take the password from the command line'"
    eval "complete -c $tool -s c -d 'Create the file'"
    eval "complete -c $tool -s D -d 'Delete the user'"
    eval "complete -c $tool -s H -x -a 'sha512-pbkdf2 sha512 argon2id' -d 'Kind of hash'"
    eval "complete -c $tool -s I -x -d 'Iterations of sha512-pbkdf2'"
    eval "complete -c $tool -s U -d 'Hash a file of plain passwords'"
end
